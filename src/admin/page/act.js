// Buttons that have an effect, and what is said of it.
import { html, useEffect, useRef, useState } from "./preact.js";
import { call } from "./follow.js";

const SURE_MS = 5000;
const SAID_MS = 10000;

// A button that acts, or, with `sure`, asks once more before it does.
export function Act({ label, about, sure, path, say }) {
  const [asks, setAsks] = useState(false);
  const [acts, setActs] = useState(false);
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const act = async () => {
    clearTimeout(timer.current);
    if (sure && !asks) {
      setAsks(true);
      timer.current = setTimeout(() => setAsks(false), SURE_MS);
      return;
    }
    setAsks(false);
    setActs(true);
    const { text } = await call(path);
    setActs(false);
    say(`${label}: ${text || "done"}`);
  };
  const press = () => (acts ? null : act());
  return html`<button type="button" class=${sure ? "danger" : "plain"} aria-disabled=${acts} onClick=${press}>${asks ? sure : label}${
    about && !asks ? html`<span class="hidden"> ${about}</span>` : null}</button>
    <span class="hidden" role="status">${asks ? "Press once more to do it." : ""}</span>`;
}

export const switching = (route, poll) => `/-/routes?path=${encodeURIComponent(route)}&poll=${poll}`;

// Has a route polled no longer, or polled again.
export const Pause = ({ route, say }) => html`<${Act} label="Pause" about=${route} sure="Sure? Its streams end" path=${switching(route, "off")} say=${say} />`;
export const Resume = ({ route, say }) => html`<${Act} label="Resume" about=${route} path=${switching(route, "on")} say=${say} />`;

// What came of the last call, in sight wherever the page is scrolled to.
export function Said({ text, close }) {
  useEffect(() => {
    if (!text) return;
    const timer = setTimeout(close, SAID_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return html`<div class=${text ? "said card" : "said"}><p role="status">${text}</p>
    ${text ? html`<button type="button" class="plain" onClick=${close}>Close<span class="hidden"> this message</span></button>` : null}</div>`;
}

const given = (one) => Object.entries(one).filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");

// Ends the streams of a client. Where several are meant, the one is chosen.
export function End({ say }) {
  const field = useRef(null);
  const [candidates, setCandidates] = useState([]);
  const end = async (named) => {
    const { text, said } = await call("/-/end?" + given(named));
    setCandidates(said.candidates || []);
    say(`End streams: ${text}`);
  };
  const submit = (event) => { event.preventDefault(); end({ subject: field.current.value }); };
  return html`<div class="end"><form onSubmit=${submit}><label><span class="hidden">Subject of the client whose streams end</span>
      <input ref=${field} required placeholder="subject of a client" autocomplete="off" /></label><button type="submit" class="danger">End its streams</button></form>
    ${candidates.length ? html`<ul class="candidates">${candidates.map((one) => html`<li key=${JSON.stringify(one)}>
      <button type="button" class="danger" onClick=${() => end(one)}>End ${one.subject} <span class="soft">${[one.way, one.issuer, one.type].filter(Boolean).join(", ")}</span></button></li>`)}</ul>` : null}</div>`;
}
