// One resource: what is known of it, its changes as they come, and what can be done with it.
import { html, useEffect, useRef, useState } from "./preact.js";
import { Act, Pause, Resume, Said } from "./act.js";
import { Explain } from "./explain.js";
import { Followers, State, Strip, size, time } from "./parts.js";

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

export function Opened({ row, gone, changes, now, close, reasons, isOff }) {
  const dialog = useRef(null);
  const [said, say] = useState("");
  const [why, setWhy] = useState(false);
  useEffect(() => { if (!dialog.current.open) dialog.current.showModal(); }, []);
  return html`<dialog ref=${dialog} aria-labelledby="opened" onClose=${close}>
    <div class="row"><h2 id="opened">${row ? row.path : "Resource"}</h2><button type="button" class="plain" onClick=${() => dialog.current.close()}>Close</button></div>
    ${isOff ? html`<p class="row paused" role="status"><span>Its route <code>${row.route}</code> is paused: requests pass through.</span> <${Resume} route=${row.route} say=${say} /></p>`
      : gone ? html`<p role="status">pollcast holds it no longer.</p>` : null}
    ${row ? html`<dl class="facts">
      <div><dt>State</dt><dd><${State} state=${row.state} /></dd></div>
      <div><dt>Last poll</dt><dd>${row.outcome}${row.reason ? html`<br /><span class="soft">${row.reason}</span>` : null}</dd></div>
      <div><dt>Followers</dt><dd><${Followers} row=${row} /></dd></div>
      <div><dt>Interval</dt><dd>${time(row.interval_ms)} <span class="soft">${row.why}</span></dd></div>
      <div><dt>Last polls</dt><dd><${Strip} row=${row} /> <span class="soft">${row.changed} of ${row.polls} changed</span></dd></div>
      <div><dt>Age, next poll</dt><dd>${row.confirmed_at ? time(now - row.confirmed_at) : "–"}, ${row.next_at ? time(row.next_at - now) : "–"}</dd></div>
      <div><dt>Size, version</dt><dd>${size(row.bytes)} <code>${row.version || ""}</code></dd></div>
      <div><dt>Route, upstream</dt><dd>${row.route} → ${row.upstream}</dd></div>
      ${row.class.length ? html`<div><dt>Shared by</dt><dd>${row.class.join(", ")}</dd></div>` : null}
    </dl>
    ${gone || isOff ? null : html`<div class="acts"><${Act} label="Poll now" path=${"/-/poll?url=" + encodeURIComponent(row.path)} say=${say} />
      <button type="button" class="plain" aria-expanded=${why} onClick=${() => setWhy(!why)}>Why is it so?</button>
      <span class="space"></span><span class="soft">its route:</span><${Pause} route=${row.route} say=${say} /></div>`}
    <${Said} text=${said} close=${() => say("")} />
    ${why && !gone ? html`<h3>What an event stream of it gets</h3><${Explain} url=${row.path} reasons=${reasons} />` : null}
    <h3>Changes since this was opened</h3>
    ${!row.is_shown ? html`<p class="soft">Its content is not shown: not every client may read it.</p>`
      : changes.length ? html`<ol class="changes">${changes.map((change) => html`<${Change} key=${change.at} change=${change} />`)}</ol>`
      : html`<p class="soft">None yet. They appear here as they come.</p>`}` : null}
  </dialog>`;
}
