// The parts of the page: upstreams, nodes, the list of resources.
import { html } from "./preact.js";
import { short } from "./plots.js";

export const size = (bytes) => {
  if (bytes === null || bytes === undefined) return "–";
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
};

export const time = (ms) => {
  if (ms === null || ms === undefined) return "–";
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
};

const OUTCOMES = { changed: "changed", unchanged: "unchanged", not_modified: "not modified", relayed: "passed on", failed: "failed" };

export function Strip({ row }) {
  const counts = {};
  row.outcomes.forEach((outcome) => { counts[outcome] = (counts[outcome] || 0) + 1; });
  const said = Object.entries(counts).map(([name, count]) => `${count} ${OUTCOMES[name]}`).join(", ");
  return html`<span class="strip" role="img" aria-label=${said ? `last polls: ${said}` : "not polled yet"} title=${said}>
    ${row.outcomes.map((outcome, at) => html`<i key=${at} class=${outcome}></i>`)}</span>`;
}

export const State = ({ state, word }) => html`<span class=${"state " + state}><i></i>${word || state}</span>`;

export function Followers({ row }) {
  const said = Object.entries(row.transports).map(([name, count]) => `${name.replace("_", " ")} ${short(count)}`);
  if (row.presence !== null) said.push(`${short(row.presence)} present`);
  return html`<span><b>${short(row.followers)}</b>${" "}<span class="soft">${said.join(" · ")}</span></span>`;
}

// The buttons between the pages of a list.
export const Pages = ({ of, list, turn }) => html`<nav class="pages" aria-label=${`Pages of the ${of}`}>
  <button type="button" disabled=${list.page === 0} onClick=${() => turn(list.page - 1)}>Previous</button>
  <span>Page ${list.page + 1} of ${list.pages}</span>
  <button type="button" disabled=${list.page + 1 >= list.pages} onClick=${() => turn(list.page + 1)}>Next</button>
</nav>`;

// The nodes that share the polls.
export const Nodes = ({ cluster }) => html`<ul class="upstreams">${cluster.members.map((one) => html`<li key=${one.node} class="card">
  <div class="row"><h3>${one.node}${one.node === cluster.node ? html` <span class="soft">this one</span>` : null}</h3>
    <${State} state=${one.leaving ? "stale" : "fresh"} word=${one.leaving ? "leaving" : "there"} /></div>
  <dl><div><dt>polls for all</dt><dd>${one.seats === null ? "–" : `${short(one.seats)} resources`}</dd></div>
    <div><dt>last heard of</dt><dd>${one.beat_ms_ago === null ? "–" : `${time(one.beat_ms_ago)} ago`}</dd></div></dl></li>`)}
  ${cluster.connected ? null : html`<li class="card wrong">The engine cannot be had: this node polls for itself.</li>`}</ul>`;

export function Upstreams({ list }) {
  return html`<ul class="upstreams">${list.map((one) => html`<li key=${one.name} class="card">
    <div class="row"><h3>${one.name}</h3><${State} state=${one.breaker_open ? "failing" : one.healthy < one.servers ? "stale" : "fresh"}
      word=${one.breaker_open ? "down" : one.healthy < one.servers ? "partly up" : "up"} /></div>
    <dl>
      <div><dt>addresses</dt><dd>${one.servers ? `${one.healthy} of ${one.servers} healthy` : "none known yet"}</dd></div>
      <div><dt>breaker</dt><dd>${one.breaker_open ? "open" : "closed"}</dd></div>
      <div><dt>budget</dt><dd>${one.budget_rate ? `${short(one.budget_rate)}/s` : "none"}${one.waiting ? `, ${one.waiting} wait` : ""}</dd></div>
      <div><dt>polls in flight</dt><dd>${one.polling}</dd></div>
      <div><dt>passing through</dt><dd>${one.passing}</dd></div>
      ${one.quota_wait_s ? html`<div><dt>quota used up for</dt><dd>${one.quota_wait_s} s</dd></div>` : null}
    </dl></li>`)}</ul>`;
}

const COLUMNS = [
  ["path", "Resource"], ["state", "State"], ["followers", "Followers"], ["interval", "Interval"], ["changes", "Last polls"],
  ["age", "Age"], ["next", "Next poll"], ["size", "Size"],
];

export function Resources({ list, rows, now, query, ask, open }) {
  const shown = list.order.map((id) => rows.get(id)).filter(Boolean);
  const sort = (name) => ask({ sort: name, page: 0, order: query.sort === name && query.order === "descending" ? "ascending" : query.sort === name ? "descending" : name === "path" ? "ascending" : "descending" });
  const head = ([name, label]) => html`<th key=${name} scope="col" aria-sort=${query.sort === name ? query.order : "none"}>
    <button type="button" onClick=${() => sort(name)}>${label}<span class="arrow" aria-hidden="true">${query.sort === name ? (query.order === "descending" ? "↓" : "↑") : ""}</span></button></th>`;
  return html`
    <div class="tools">
      <label class="search"><span class="hidden">Search resources</span>
        <input type="search" placeholder="Search path, route, upstream, state" maxlength="200" value=${query.search}
          onInput=${(event) => ask({ search: event.target.value, page: 0 })} /></label>
      <label class="sorted"><span class="soft">Sort by</span>
        <select value=${query.sort} onChange=${(event) => ask({ sort: event.target.value, page: 0 })}>${COLUMNS.map(([name, label]) => html`<option key=${name} value=${name}>${label}</option>`)}</select></label>
      <p class="soft" role="status">${list.matched === list.total ? `${list.total} resources` : `${list.matched} of ${list.total} resources`}</p>
    </div>
    <div class="scroll"><table>
      <caption class="hidden">Resources that pollcast holds. A column's button sorts by it.</caption>
      <thead><tr>${COLUMNS.map(head)}</tr></thead>
      <tbody>${shown.map((row) => html`<tr key=${row.id}>
        <th scope="row"><button type="button" class="path" onClick=${() => open(row.id)}>${row.path}</button>
          <span class="soft">${row.route} → ${row.upstream}${row.class.length ? html` <span class="tag">by ${row.class.join(", ")}</span>` : null}</span></th>
        <td data-label="State"><${State} state=${row.state} /></td>
        <td data-label="Followers"><${Followers} row=${row} /></td>
        <td data-label="Interval">${time(row.interval_ms)}${row.why === "interval" ? null : html` <span class="soft">${row.why}</span>`}</td>
        <td data-label="Last polls"><${Strip} row=${row} /><span class="soft">${row.changes_per_minute ? `${short(row.changes_per_minute)}/min` : "no change"}</span></td>
        <td data-label="Age">${row.confirmed_at ? time(now - row.confirmed_at) : "–"}</td>
        <td data-label="Next poll">${row.next_at ? time(row.next_at - now) : "–"}</td>
        <td data-label="Size">${size(row.bytes)}${row.patch_ratio === null ? null : html` <span class="soft">patch ${Math.round(row.patch_ratio * 100)} %</span>`}</td>
      </tr>`)}</tbody></table>
      ${shown.length ? null : html`<p class="none">${list.total ? "Nothing is found." : "No client has asked for a covered resource yet."}</p>`}
    </div>
    <${Pages} of="list" list=${list} turn=${(page) => ask({ page })} />`;
}
