// The dashboard: what is asked for, what came, and the frame around the parts.
import { html, render, useEffect, useRef, useState } from "./preact.js";
import { ask as get, follow, token } from "./follow.js";
import { Act, End, Said } from "./act.js";
import { Explain } from "./explain.js";
import { Opened } from "./opened.js";
import { Plot, merged, short } from "./plots.js";
import { Nodes, Resources, Upstreams, size } from "./parts.js";
import { Routes, RoutesOff } from "./routes.js";

const CHANGES_MAX = 50;
const SECTIONS = [["hour", "Last hour"], ["upstreams", "Upstreams"], ["resources", "Resources"], ["routes", "Routes"], ["explain", "Explain"], ["operate", "Operate"]];
const WORDS = { live: "live", lost: "connecting again", busy: "too many dashboards are open", token: "token needed", start: "connecting" };

function Ask({ done }) {
  const field = useRef(null);
  const enter = (event) => { event.preventDefault(); token.set(field.current.value.trim()); done(); };
  return html`<main class="ask card"><h1>pollcast</h1><p>This admin listener has a token (<code>admin.token</code>). It is kept until this tab is closed.</p>
    <form onSubmit=${enter}><label>Token <input ref=${field} type="password" autocomplete="current-password" required autofocus /></label>
    <button type="submit">Open the dashboard</button></form>
    ${token.get() ? html`<p class="wrong" role="alert">The last token was not the right one.</p>` : null}</main>`;
}

const useTheme = () => {
  const [theme, setTheme] = useState(localStorage.getItem("pollcast.theme") || "");
  useEffect(() => {
    if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
    if (theme) localStorage.setItem("pollcast.theme", theme); else localStorage.removeItem("pollcast.theme");
  }, [theme]);
  return [theme, setTheme];
};

function Plots({ samples, theme, reasons }) {
  if (!samples || samples.at.length < 2) return html`<p class="soft">The first samples come in a few seconds.</p>`;
  const { at, series } = samples;
  const by = (group) => (Object.keys(group).length ? Object.entries(group) : [["none", at.map(() => 0)]]);
  const plot = (title, unit, lines, meanings) => html`<${Plot} key=${title} title=${title} unit=${unit} at=${at} theme=${theme} lines=${lines} meanings=${meanings} />`;
  return html`<div class="plots">
    ${plot("Followers", "clients", [["followers", series.followers]])}
    ${plot("Upstream requests", "a second", [["saved", series.saved_requests], ["polls", series.polls], ["failed", series.polls_failed]])}
    ${plot("Events", "a second", [["events", series.events]])}
    ${plot("Lag of deliveries", "milliseconds", [["p50", series.lag_p50_ms], ["p99", series.lag_p99_ms]])}
    ${plot("Bytes", "a second", [["saved upstream", series.saved_bytes], ["to clients", series.bytes_out]])}
    ${plot("Requests", "a second", [["all", series.requests], ["passed through", series.passthrough]])}
    ${plot("Passed through, by reason", "a second", by(samples.bypasses), reasons && reasons.passed_through)}
    ${plot("Refused, by reason", "a second", by(samples.refusals), reasons && reasons.refused)}
  </div>`;
}

const last = (samples, name) => (samples ? short(samples.series[name][samples.at.length - 1]) : "–");

function Dashboard() {
  const [state, setState] = useState("start");
  const [query, setQuery] = useState({ search: "", sort: "followers", order: "descending", page: 0, routes: "", routes_page: 0 });
  const [opened, setOpened] = useState(null);
  const [round, setRound] = useState(0);
  const [now, setNow] = useState(Date.now());
  const [said, say] = useState("");
  const [reasons, setReasons] = useState(null);
  const [theme, setTheme] = useTheme();
  const [, redraw] = useState(0);
  // What came is kept beside the state: a burst of events is drawn once.
  const came = useRef({ summary: null, list: null, rows: new Map(), routes: null, samples: null, ahead: 0, open: null }).current;

  useEffect(() => {
    const wait = setTimeout(() => begin(), query.search || query.routes ? 250 : 0);
    let end = () => {};
    function begin() {
      const parameters = new URLSearchParams(query);
      if (opened !== null) parameters.set("open", opened);
      // Samples that are here are not sent again; after a loss the process may be another one.
      const since = () => (came.samples ? came.samples.at[came.samples.at.length - 1] : 0);
      const rows = new Map();
      end = follow(() => `${parameters}&since=${since()}`, (name, data) => {
        if (name === "summary") { came.summary = data; came.ahead = data.now - Date.now(); }
        if (name === "resources") {
          data.rows.forEach((row) => rows.set(row.id, row));
          [...rows.keys()].filter((id) => !data.list.order.includes(id)).forEach((id) => rows.delete(id));
          came.list = data.list; came.rows = rows;
        }
        if (name === "routes") came.routes = data;
        if (name === "samples") came.samples = merged(came.samples, data);
        if (name === "change" && came.open) {
          if (data.row) came.open.row = data.row;
          came.open.gone = Boolean(data.gone);
          if (data.change) came.open.changes = [data.change, ...came.open.changes].slice(0, CHANGES_MAX);
        }
        setNow(Date.now() + came.ahead);
        redraw((count) => count + 1);
      }, (word) => { if (word === "lost") came.samples = null; if (word === "lost") rows.clear(); setState(word); });
    }
    return () => { clearTimeout(wait); end(); };
  }, [query, opened, round]);
  useEffect(() => { if (state === "live" && !reasons) get("/-/dashboard/reasons").then(({ ok, said }) => { if (ok) setReasons(said); }); }, [state]);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now() + came.ahead), 1000);
    return () => clearInterval(timer);
  }, []);

  if (state === "token") return html`<${Ask} done=${() => { setState("start"); setRound(round + 1); }} />`;
  const { summary, list, routes, samples } = came;
  const ask = (more) => setQuery({ ...query, ...more });
  const find = (route) => { ask({ search: route, page: 0 }); document.getElementById("resources").scrollIntoView(); };
  const open = (id) => { came.open = { row: came.rows.get(id), gone: false, changes: [] }; setOpened(id); };
  const isOff = came.open && came.open.row && summary.routes_off.includes(came.open.row.route);
  const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const section = (id, title, part) => html`<section aria-labelledby=${id}><h2 id=${id}>${title}</h2>${part}</section>`;
  return html`
    <a class="skip" href="#resources">Skip to the resources</a>
    <header><div class="wrap row">
      <h1>pollcast</h1>
      <span class=${"connection " + state} role="status"><i></i>${summary && summary.draining ? "draining" : WORDS[state]}</span>
      <span class="soft version">${summary ? summary.version : ""}</span>
      <nav class="sections" aria-label="Sections">${SECTIONS.map(([id, name]) => html`<a key=${id} href=${"#" + id}>${name}</a>`)}</nav>
      <span class="space"></span>
      <button type="button" class="plain" onClick=${() => setTheme(dark ? "light" : "dark")}>${dark ? "Light" : "Dark"}</button>
      ${token.get() ? html`<button type="button" class="plain" onClick=${() => { token.set(""); setState("token"); }}>Sign out</button>` : null}
    </div></header>
    <main class="wrap">
      ${summary ? html`<dl class="numbers">
        <div><dt>Followers</dt><dd>${last(samples, "followers")}</dd></div>
        <div><dt>Resources</dt><dd>${short(summary.resources)} <span class="soft">of ${short(summary.resources_max)}</span></dd></div>
        <div><dt>Polls a second</dt><dd>${last(samples, "polls")}</dd></div>
        <div><dt>Requests saved a second</dt><dd class="own">${last(samples, "saved_requests")}</dd></div>
        <div><dt>Events a second</dt><dd>${last(samples, "events")}</dd></div>
        <div><dt>Snapshots</dt><dd>${size(summary.snapshot_bytes)}</dd></div>
      </dl>` : null}
      ${summary && summary.routes_off.length ? html`<${RoutesOff} list=${summary.routes_off} say=${say} />` : null}
      ${section("hour", "The last hour", html`<${Plots} samples=${samples} theme=${String(dark)} reasons=${reasons} />`)}
      ${summary ? section("upstreams", "Upstreams", html`<${Upstreams} list=${summary.upstreams} />`) : null}
      ${summary && summary.cluster ? section("nodes", "Nodes", html`<${Nodes} cluster=${summary.cluster} />`) : null}
      ${list ? section("resources", "Resources", html`<${Resources} list=${list} rows=${came.rows} now=${now} query=${query} ask=${ask} open=${open} />`) : null}
      ${routes ? section("routes", "Routes", html`<${Routes} list=${routes} query=${query} ask=${ask} reasons=${reasons} say=${say} find=${find} />`) : null}
      ${summary ? section("explain", "Explain a request", html`<div class="card"><p class="soft">What becomes of a request, and why: decided by the code that decides requests, and nothing is done.</p>
        <${Explain} reasons=${reasons} /></div>`) : null}
      ${summary ? section("operate", "Operate", html`<div class="card operate">
        <${End} say=${say} />
        ${summary.token ? html`<${Act} label="Drain this process" sure="Drain and end it?" path="/-/drain" say=${say} />` : html`<p class="soft">Draining needs <code>admin.token</code>.</p>`}
      </div>`) : null}
      <${Said} text=${said} close=${() => say("")} />
    </main>
    ${opened !== null && came.open ? html`<${Opened} key=${opened} ...${came.open} isOff=${isOff} now=${now} reasons=${reasons} close=${() => { came.open = null; setOpened(null); }} />` : null}`;
}

render(html`<${Dashboard} />`, document.getElementById("page"));
