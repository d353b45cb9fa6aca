// The box that asks what becomes of a request, and why.
import { html, useEffect, useRef, useState } from "./preact.js";
import { ask } from "./follow.js";
import { time } from "./parts.js";

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const TRANSPORTS = [
  ["", "an ordinary request"], ["Accept: text/event-stream", "Server-Sent Events"], ["Prefer: wait=30", "long-poll"],
  ["Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: cG9sbGNhc3QtZGVtby0wMQ==", "WebSocket"],
];
const DOES = {
  answered: ["pollcast answers it", "fresh"], stream: ["It becomes a stream", "fresh"], held: ["It is held until there is news", "fresh"],
  "passed-through": ["It passes through to the API", "stale"], refused: ["It is refused", "failing"],
  closed: ["It becomes a WebSocket that is closed at once", "failing"], helper: ["It is for one of pollcast's own helpers", "cold"],
};
const AWAITED = {
  poll: "a poll", write: "a poll that knows of the last write", confirmation: "a poll that confirms what is held",
  check: "a request to the API with the client's own credentials", identity: "the server, or the keys, that say who the client is",
};

function Answer({ said, reasons }) {
  const { outcome, poll, schedule } = said;
  const [words, color] = DOES[outcome.does] || [outcome.does, "cold"];
  const meaning = outcome.reason && reasons && (reasons.passed_through[outcome.reason] || reasons.refused[outcome.reason]);
  const fact = (name, value) => (value === null || value === undefined || value === "" ? null : html`<div><dt>${name}</dt><dd>${value}</dd></div>`);
  return html`<div class="answer">
    <p class="outcome"><span class=${"state " + color}><i></i>${words}</span>${outcome.reason ? html` <code class="tag">${outcome.reason}</code>` : null}
      ${meaning ? html` <span>${meaning}</span>` : null}${outcome.detail && outcome.detail !== meaning ? html` <span class="soft">${outcome.detail}</span>` : null}</p>
    <dl class="facts">
      ${fact("Route", said.route || "none")}
      ${fact("Request", `${said.request.method} ${said.request.url} on ${said.request.host}`)}
      ${fact("Waits first for", outcome.after && (AWAITED[outcome.after] || outcome.after))}
      ${fact("Otherwise", outcome.otherwise)}
      ${fact("Status", outcome.status)}
      ${fact("Close code", outcome.close_code)}
      ${fact("Held for at most", outcome.wait_ms && time(outcome.wait_ms))}
      ${fact("Upstream", outcome.upstream)}
      ${poll ? fact("Poll", `${poll.method} ${poll.url} at ${poll.upstream}, host ${poll.host}, ${poll.awaited ? "awaited by this request" : "by schedule"}`) : null}
      ${poll && poll.fields.length ? fact("Fields of the poll", poll.fields.join(", ")) : null}
      ${schedule ? fact("Schedule", `every ${time(schedule.effective_interval_ms)} (${schedule.why}), ${schedule.followers} followers, ${schedule.polls} polls so far`) : null}
    </dl>
    ${poll && poll.notes.length ? html`<ul class="notes">${poll.notes.map((note) => html`<li key=${note}>${note}</li>`)}</ul>` : null}
    <h4>Step by step</h4>
    <ol class="steps">${said.steps.map((step, at) => html`<li key=${at}><b>${step.about}</b><span>${step.text} <span class="soft">§${step.section}</span></span></li>`)}</ol>
    ${said.near.length ? html`<h4>Routes that nearly cover it</h4>
      <ul class="notes">${said.near.map((near) => html`<li key=${near.route}><code>${near.route}</code> ${near.why}</li>`)}</ul>` : null}
  </div>`;
}

// `url`: what is asked for at once. Without it there is a form.
export function Explain({ url, reasons }) {
  const form = useRef(null);
  const [answer, setAnswer] = useState(null);
  const find = async (url, method, lines) => {
    const query = new URLSearchParams({ url, method, format: "json" });
    lines.split("\n").map((line) => line.trim()).filter(Boolean).forEach((line) => query.append("header", line));
    setAnswer({ waits: true });
    setAnswer(await ask("/-/explain?" + query.toString().replace(/\+/g, "%20")));
  };
  useEffect(() => { if (url) find(url, "GET", "Accept: text/event-stream"); }, [url]);
  const submit = (event) => {
    event.preventDefault();
    const { target, method, transport, fields } = form.current.elements;
    find(target.value.trim(), method.value, `${transport.value}\n${fields.value}`);
  };
  return html`<div class="explain">
    ${url ? null : html`<form ref=${form} onSubmit=${submit}>
      <label class="wide">Path with query, or URL<input name="target" required placeholder="/api/prices/1" autocomplete="off" spellcheck=${false} /></label>
      <label>Method<select name="method">${METHODS.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>
      <label>Asks for<select name="transport">${TRANSPORTS.map(([lines, name]) => html`<option key=${name} value=${lines}>${name}</option>`)}</select></label>
      <label class="wide">More header fields, one a line<textarea name="fields" rows="2" placeholder="Authorization: Bearer …" autocomplete="off" spellcheck=${false}></textarea></label>
      <button type="submit">Explain</button></form>`}
    <div role="status">${answer === null ? null : answer.waits ? html`<p class="soft">Asking…</p>`
      : answer.ok ? html`<${Answer} said=${answer.said} reasons=${reasons} />` : html`<p class="wrong">${answer.text}</p>`}</div>
  </div>`;
}
