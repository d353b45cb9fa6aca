// The dashboard: what is asked for, what came, and the frame around the parts.
import { html, render, useEffect, useRef, useState } from "./preact.js";
import { call, follow, token } from "./follow.js";
import { Plot, merged, short } from "./plots.js";
import { Act, Opened, Resources, RoutesOff, Upstreams, size } from "./parts.js";

const CHANGES_MAX = 50;
const WORDS = { live: "live", lost: "connecting again", busy: "too many dashboards are open", token: "token needed", start: "connecting" };

function Ask({ done }) {
  const field = useRef(null);
  const enter = (event) => { event.preventDefault(); token.set(field.current.value.trim()); done(); };
  return html`<main class="ask card"><h1>pollcast</h1><p>This admin listener has a token (<code>admin.token</code>). It is kept until this tab is closed.</p>
    <form onSubmit=${enter}><label>Token <input ref=${field} type="password" autocomplete="current-password" required autofocus /></label>
    <button type="submit">Open the dashboard</button></form>
    ${token.get() ? html`<p class="wrong" role="alert">The last token was not the right one.</p>` : null}</main>`;
}

function End({ say }) {
  const field = useRef(null);
  const end = async (event) => {
    event.preventDefault();
    const { text } = await call("/-/end?subject=" + encodeURIComponent(field.current.value));
    say(`End streams: ${text}`);
  };
  return html`<form class="end" onSubmit=${end}><label><span class="hidden">Subject whose streams end</span>
    <input ref=${field} required placeholder="subject of a client" /></label><button type="submit" class="danger">End its streams</button></form>`;
}

const useTheme = () => {
  const [theme, setTheme] = useState(localStorage.getItem("pollcast.theme") || "");
  useEffect(() => {
    if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
    if (theme) localStorage.setItem("pollcast.theme", theme); else localStorage.removeItem("pollcast.theme");
  }, [theme]);
  return [theme, setTheme];
};

function Plots({ samples, theme }) {
  if (!samples || samples.at.length < 2) return html`<p class="soft">The first samples come in a few seconds.</p>`;
  const { at, series } = samples;
  const refusals = Object.entries(samples.refusals);
  const plot = (title, unit, lines) => html`<${Plot} key=${title} title=${title} unit=${unit} at=${at} theme=${theme} lines=${lines} />`;
  return html`<div class="plots">
    ${plot("Followers", "clients", [["followers", series.followers]])}
    ${plot("Upstream requests", "a second", [["saved", series.saved_requests], ["polls", series.polls], ["failed", series.polls_failed]])}
    ${plot("Events", "a second", [["events", series.events]])}
    ${plot("Lag of deliveries", "milliseconds", [["p50", series.lag_p50_ms], ["p99", series.lag_p99_ms]])}
    ${plot("Bytes", "a second", [["saved upstream", series.saved_bytes], ["to clients", series.bytes_out]])}
    ${plot("Requests", "a second", [["all", series.requests], ["passed through", series.passthrough]])}
    ${plot("Refusals", "a second", refusals.length ? refusals : [["none", at.map(() => 0)]])}
  </div>`;
}

const last = (samples, name) => (samples ? short(samples.series[name][samples.at.length - 1]) : "–");

function Dashboard() {
  const [state, setState] = useState("start");
  const [query, setQuery] = useState({ search: "", sort: "followers", order: "descending", page: 0 });
  const [opened, setOpened] = useState(null);
  const [round, setRound] = useState(0);
  const [now, setNow] = useState(Date.now());
  const [said, say] = useState("");
  const [theme, setTheme] = useTheme();
  const [, redraw] = useState(0);
  // What came is kept beside the state: a burst of events is drawn once.
  const came = useRef({ summary: null, list: null, rows: new Map(), samples: null, ahead: 0, open: null }).current;

  useEffect(() => {
    const wait = setTimeout(() => begin(), query.search ? 250 : 0);
    let end = () => {};
    function begin() {
      came.samples = null;
      const parameters = new URLSearchParams({ search: query.search, sort: query.sort, order: query.order, page: query.page });
      if (opened !== null) parameters.set("open", opened);
      const rows = new Map();
      end = follow(parameters, (name, data) => {
        if (name === "summary") { came.summary = data; came.ahead = data.now - Date.now(); }
        if (name === "resources") {
          data.rows.forEach((row) => rows.set(row.id, row));
          [...rows.keys()].filter((id) => !data.list.order.includes(id)).forEach((id) => rows.delete(id));
          came.list = data.list; came.rows = rows;
        }
        if (name === "samples") came.samples = merged(came.samples, data);
        if (name === "change" && came.open) {
          if (data.row) came.open.row = data.row;
          came.open.gone = Boolean(data.gone);
          if (data.change) came.open.changes = [data.change, ...came.open.changes].slice(0, CHANGES_MAX);
        }
        setNow(Date.now() + came.ahead);
        redraw((count) => count + 1);
      }, (word) => { if (word === "lost") came.samples = null; setState(word); });
    }
    return () => { clearTimeout(wait); end(); };
  }, [query.search, query.sort, query.order, query.page, opened, round]);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now() + came.ahead), 1000);
    return () => clearInterval(timer);
  }, []);

  if (state === "token") return html`<${Ask} done=${() => { setState("start"); setRound(round + 1); }} />`;
  const { summary, list, samples } = came;
  const ask = (more) => setQuery({ ...query, ...more });
  const open = (id) => { came.open = { row: came.rows.get(id), gone: false, changes: [] }; setOpened(id); };
  const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return html`
    <header><div class="wrap row">
      <h1>pollcast</h1>
      <span class=${"connection " + state} role="status"><i></i>${summary && summary.draining ? "draining" : WORDS[state]}</span>
      <span class="soft version">${summary ? summary.version : ""}</span>
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
      <section aria-labelledby="hour"><h2 id="hour">The last hour</h2><${Plots} samples=${samples} theme=${String(dark)} /></section>
      ${summary ? html`<section aria-labelledby="upstreams"><h2 id="upstreams">Upstreams</h2><${Upstreams} list=${summary.upstreams} /></section>` : null}
      ${list ? html`<section aria-labelledby="resources"><h2 id="resources">Resources</h2>
        <${Resources} list=${list} rows=${came.rows} now=${now} query=${query} ask=${ask} open=${open} /></section>` : null}
      ${summary ? html`<section aria-labelledby="operate"><h2 id="operate">Operate</h2><div class="card operate">
        <${End} say=${say} />
        ${summary.token ? html`<${Act} label="Drain this process" sure="Drain and end it?" path="/-/drain" say=${say} />` : html`<p class="soft">Draining needs <code>admin.token</code>.</p>`}
      </div></section>` : null}
      <p class="said" role="status">${said}</p>
    </main>
    ${opened !== null && came.open ? html`<${Opened} ...${came.open} now=${now} say=${say} close=${() => { came.open = null; setOpened(null); }} />` : null}`;
}

render(html`<${Dashboard} />`, document.getElementById("page"));
