// The parts of the page: the head, upstreams, the list of resources, one resource.
import { html, useEffect, useRef, useState } from "./preact.js";
import { short } from "./plots.js";
import { call } from "./follow.js";

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

function Strip({ row }) {
  const counts = {};
  row.outcomes.forEach((outcome) => { counts[outcome] = (counts[outcome] || 0) + 1; });
  const said = Object.entries(counts).map(([name, count]) => `${count} ${OUTCOMES[name]}`).join(", ");
  return html`<span class="strip" role="img" aria-label=${said ? `last polls: ${said}` : "not polled yet"} title=${said}>
    ${row.outcomes.map((outcome, at) => html`<i key=${at} class=${outcome}></i>`)}</span>`;
}

const State = ({ state, word }) => html`<span class=${"state " + state}><i></i>${word || state}</span>`;

const Followers = ({ row }) => html`<b>${short(row.followers)}</b>${" "}<span class="soft">${Object.entries(row.transports)
  .map(([name, count]) => `${name.replace("_", " ")} ${short(count)}`).join(" · ")}</span>`;

export function Upstreams({ list }) {
  return html`<ul class="upstreams">${list.map((one) => html`<li key=${one.name} class="card">
    <div class="row"><h3>${one.name}</h3><${State} state=${one.breaker_open ? "failing" : one.healthy < one.servers ? "stale" : "fresh"}
      word=${one.breaker_open ? "down" : one.healthy < one.servers ? "partly up" : "up"} /></div>
    <dl>
      <div><dt>addresses</dt><dd>${one.servers ? `${one.healthy} of ${one.servers} healthy` : "none known yet"}</dd></div>
      <div><dt>breaker</dt><dd>${one.breaker_open ? "open" : "closed"}</dd></div>
      <div><dt>budget</dt><dd>${one.budget_rate ? `${short(one.budget_rate)}/s` : "none"}${one.waiting ? `, ${one.waiting} wait` : ""}</dd></div>
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
    <nav class="pages" aria-label="Pages of the list">
      <button type="button" disabled=${list.page === 0} onClick=${() => ask({ page: list.page - 1 })}>Previous</button>
      <span>Page ${list.page + 1} of ${list.pages}</span>
      <button type="button" disabled=${list.page + 1 >= list.pages} onClick=${() => ask({ page: list.page + 1 })}>Next</button>
    </nav>`;
}

// A button that asks once more before it acts, and says what came of it.
export function Act({ label, sure, path, say }) {
  const [asks, setAsks] = useState(false);
  const act = async () => {
    if (sure && !asks) { setAsks(true); setTimeout(() => setAsks(false), 4000); return; }
    setAsks(false);
    const { ok, text } = await call(path);
    say(`${label}: ${ok ? text || "done" : text}`);
  };
  return html`<button type="button" class=${sure ? "danger" : "plain"} onClick=${act}>${asks ? sure : label}</button>`;
}

const switching = (route, poll) => `/-/routes?path=${encodeURIComponent(route)}&poll=${poll}`;

// The routes that an operator has made plain proxies.
export function RoutesOff({ list, say }) {
  return html`<ul class="routes-off" role="alert">${list.map((route) => html`<li key=${route} class="card row">
    <span><b>${route}</b> is switched off: all its requests pass through until the next reload.</span><span class="space"></span>
    <${Act} label="Switch on" path=${switching(route, "on")} say=${say} /></li>`)}</ul>`;
}

function Change({ change }) {
  const { kind, lines, more } = change.difference;
  const words = { large: "The body is too large to compare here.", binary: "The body is not text." };
  return html`<li><p class="soft">${new Date(change.at).toLocaleTimeString()} · ${size(change.bytes)} · version <code>${change.version}</code></p>
    ${words[kind] ? html`<p>${words[kind]}</p>` : html`<dl class="difference">${lines.map((line, at) => html`<div key=${at}>
      <dt><code>${line.place || "/"}</code></dt>
      ${line.before === null ? null : html`<dd class="before"><span class="hidden">before: </span>${line.before}</dd>`}
      ${line.after === null ? null : html`<dd class="after"><span class="hidden">after: </span>${line.after}</dd>`}</div>`)}</dl>`}
    ${more ? html`<p class="soft">There are more differences.</p>` : null}</li>`;
}

export function Opened({ row, gone, changes, now, close, say }) {
  const dialog = useRef(null);
  useEffect(() => { if (!dialog.current.open) dialog.current.showModal(); }, []);
  return html`<dialog ref=${dialog} aria-labelledby="opened" onClose=${close}>
    <div class="row"><h2 id="opened">${row ? row.path : "Resource"}</h2><button type="button" class="plain" onClick=${() => dialog.current.close()}>Close</button></div>
    ${gone ? html`<p>pollcast holds it no longer.</p>` : null}
    ${row ? html`<dl class="facts">
      <div><dt>State</dt><dd><${State} state=${row.state} /></dd></div>
      <div><dt>Last poll</dt><dd>${row.outcome}${row.reason ? html`<br /><span class="soft">${row.reason}</span>` : null}</dd></div>
      <div><dt>Followers</dt><dd><${Followers} row=${row} /></dd></div>
      <div><dt>Interval</dt><dd>${time(row.interval_ms)} <span class="soft">${row.why}</span></dd></div>
      <div><dt>Last polls</dt><dd><${Strip} row=${row} /> <span class="soft">${row.changed} of ${row.polls} changed</span></dd></div>
      <div><dt>Age, next poll</dt><dd>${row.confirmed_at ? time(now - row.confirmed_at) : "–"}, ${row.next_at ? time(row.next_at - now) : "–"}</dd></div>
      <div><dt>Size, version</dt><dd>${size(row.bytes)} <code>${row.version || ""}</code></dd></div>
      <div><dt>Route, upstream</dt><dd>${row.route} → ${row.upstream}</dd></div>
    </dl>
    <div class="acts"><${Act} label="Poll now" path=${"/-/poll?url=" + encodeURIComponent(row.path)} say=${say} />
      <${Act} label="Switch its route off" sure=${`End all streams of ${row.route}, and pass its requests through?`} path=${switching(row.route, "off")} say=${say} /></div>
    <h3>Changes since this was opened</h3>
    ${!row.is_shown ? html`<p class="soft">Its content is not shown: not every client may read it.</p>`
      : changes.length ? html`<ol class="changes">${changes.map((change) => html`<${Change} key=${change.at} change=${change} />`)}</ol>`
      : html`<p class="soft">None yet. They appear here as they come.</p>`}` : null}
  </dialog>`;
}
