// The routes: which are polled, for whom, and why their requests passed through or were refused.
import { html } from "./preact.js";
import { short } from "./plots.js";
import { Pages, State, time } from "./parts.js";
import { Pause, Resume } from "./act.js";

const WORDS = { on: ["polled", "fresh"], off: ["off in the file", "cold"], "switched-off": ["paused", "stale"] };
const REASONS_SHOWN = 3;

// The most frequent reasons with their counts; what a word means is its title.
export function Reasons({ counts, meanings }) {
  const all = Object.entries(counts).sort((one, other) => other[1] - one[1]);
  if (!all.length) return html`<span class="soft">none</span>`;
  const rest = all.slice(REASONS_SHOWN);
  return html`<ul class="reasons">${all.slice(0, REASONS_SHOWN).map(([word, count]) => html`<li key=${word} title=${(meanings && meanings[word]) || ""}>
    <b>${short(count)}</b> ${word}</li>`)}${rest.length ? html`<li class="soft" title=${rest.map(([word, count]) => `${count} ${word}`).join(", ")}>and ${rest.length} more</li>` : null}</ul>`;
}

// The routes that an operator has made plain proxies.
export const RoutesOff = ({ list, say }) => html`<div role="alert"><ul class="routes-off">${list.map((route) => html`<li key=${route} class="card row">
  <span><b><code>${route}</code></b> is paused: all its requests pass through until it is resumed, or until the next reload.</span><span class="space"></span>
  <${Resume} route=${route} say=${say} /></li>`)}</ul></div>`;

export function Routes({ list, query, ask, reasons, say, find }) {
  const { passed_through: passed, refused } = reasons || {};
  const row = (route) => {
    const [word, color] = WORDS[route.poll];
    return html`<tr key=${route.id}>
      <th scope="row"><code>${route.path}</code><span class="soft">${route.hosts.length ? `${route.hosts.join(", ")} ` : ""}→ ${route.upstream}${
        route.presence ? html` <span class="tag">presence</span>` : null}</span></th>
      <td data-label="Polling"><span><${State} state=${color} word=${word} />${route.off_since ? html`<br /><span class="soft">since ${new Date(route.off_since).toLocaleTimeString()}</span>` : null}</span></td>
      <td data-label="Interval">${route.poll === "on" ? time(route.interval_ms) : "–"}</td>
      <td data-label="Resources">${route.resources ? html`<button type="button" class="link" onClick=${() => find(route.path)}>${short(route.resources)}<span class="hidden"> resources of ${route.path}: show them</span></button>` : "0"}</td>
      <td data-label="Followers">${short(route.followers)}</td>
      <td data-label="Passed through"><${Reasons} counts=${route.passed_through} meanings=${passed} /></td>
      <td data-label="Refused"><${Reasons} counts=${route.refused} meanings=${refused} /></td>
      <td class="acts-cell">${route.poll === "on" ? html`<${Pause} route=${route.path} say=${say} />` : route.poll === "off" ? null : html`<${Resume} route=${route.path} say=${say} />`}</td>
    </tr>`;
  };
  const stray = list.no_route;
  return html`
    <div class="tools">
      <label class="search"><span class="hidden">Search routes</span>
        <input type="search" placeholder="Search path, host, upstream, switched-off" maxlength="60" value=${query.routes}
          onInput=${(event) => ask({ routes: event.target.value, routes_page: 0 })} /></label>
      <p class="soft" role="status">${list.matched === list.total ? `${list.total} routes` : `${list.matched} of ${list.total} routes`}; reasons are counted since the start</p>
    </div>
    <div class="scroll"><table class="routes">
      <caption class="hidden">Routes: whether they are polled, and why their requests passed through or were refused.</caption>
      <thead><tr>${["Route", "Polling", "Interval", "Resources", "Followers", "Passed through", "Refused"].map((name) => html`<th key=${name} scope="col">${name}</th>`)}<td></td></tr></thead>
      <tbody>${list.rows.map(row)}</tbody></table>
      ${list.rows.length ? null : html`<p class="none">${list.total ? "Nothing is found." : "The configuration has no routes."}</p>`}
    </div>
    ${Object.keys(stray.passed_through).length || Object.keys(stray.refused).length ? html`<div class="stray"><span class="soft">Requests that no route covers:</span>
      ${Object.keys(stray.passed_through).length ? html`<span>passed through <${Reasons} counts=${stray.passed_through} meanings=${passed} /></span>` : null}
      ${Object.keys(stray.refused).length ? html`<span>refused <${Reasons} counts=${stray.refused} meanings=${refused} /></span>` : null}</div>` : null}
    ${list.pages > 1 ? html`<${Pages} of="routes" list=${list} turn=${(routes_page) => ask({ routes_page })} />` : null}`;
}
