// The plots of the last hour, drawn by uPlot.
import { html, useEffect, useRef } from "./preact.js";

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const LINES = ["--one", "--two", "--three", "--four", "--five", "--six", "--seven"];

// Adds samples to those there are, and forgets what is older than an hour. What is there already is not added again.
export function merged(held, told) {
  const newest = held ? held.at[held.at.length - 1] : 0;
  const skip = told.at.filter((at) => at <= newest).length;
  const rest = (group) => Object.fromEntries(Object.entries(group).map(([name, values]) => [name, values.slice(skip)]));
  const more = { at: told.at.slice(skip), series: rest(told.series), refusals: rest(told.refusals), bypasses: rest(told.bypasses) };
  const now = held || { at: [], series: {}, refusals: {}, bypasses: {} };
  const start = Math.max(0, now.at.length + more.at.length - 720);
  const join = (one, other, length) => (one || new Array(length).fill(0)).concat(other).slice(start);
  const group = (name) => {
    const names = new Set([...Object.keys(now[name]), ...Object.keys(more[name])]);
    const values = {};
    for (const key of names) {
      values[key] = join(now[name][key], more[name][key] || new Array(more.at.length).fill(0), now.at.length);
    }
    return values;
  };
  return { at: now.at.concat(more.at).slice(start), series: group("series"), refusals: group("refusals"), bypasses: group("bypasses") };
}

export const short = (value) => {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  for (const [unit, name] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (size >= unit) return (value / (name === "k" ? 1e3 : unit)).toFixed(1).replace(/\.0$/, "") + name;
  }
  return size >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(size < 1 ? 2 : 1);
};

const clock = (seconds, step) => new Date(seconds * 1000)
  .toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: step < 60 ? "2-digit" : undefined, hour12: false });

export function Plot({ title, unit, at, lines, theme, meanings }) {
  const place = useRef(null);
  const plot = useRef(null);
  const names = lines.map((line) => line[0]).join("|");
  const data = [at.map((ms) => ms / 1000), ...lines.map((line) => line[1])];
  useEffect(() => {
    const width = () => Math.max(220, place.current.clientWidth);
    const axis = { stroke: color("--soft"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    plot.current = new window.uPlot({
      width: width(), height: 128, padding: [8, 26, 0, 0], legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 6 } },
      scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.15 : 1] } },
      axes: [{ ...axis, size: 24, space: 60, values: (_, ticks, at, space, step) => ticks.map((tick) => clock(tick, step)) }, { ...axis, size: 44, space: 28, values: (_, ticks) => ticks.map(short) }],
      series: [{}, ...lines.map((line, at) => ({
        label: line[0], stroke: color(LINES[at % LINES.length]), width: 1.6,
        fill: lines.length === 1 ? color("--fill") : undefined, points: { show: false },
      }))],
    }, data, place.current);
    const watcher = new ResizeObserver(() => plot.current.setSize({ width: width(), height: 128 }));
    watcher.observe(place.current);
    return () => { watcher.disconnect(); plot.current.destroy(); };
  }, [names, theme]);
  useEffect(() => { plot.current.setData(data); }, [at]);
  const last = (values) => values[values.length - 1];
  const said = lines.map(([name, values]) => `${name} ${short(last(values))}`).join(", ");
  return html`<figure class="plot">
    <figcaption><h3>${title}</h3><span class="unit">${unit}</span></figcaption>
    <ul class="legend">${lines.map(([name, values], at) => html`<li key=${name} title=${(meanings && meanings[name]) || ""}><i class=${"key c" + (at % LINES.length)}></i>${name} <b>${short(last(values))}</b></li>`)}</ul>
    <div ref=${place} role="img" aria-label=${`${title}, ${unit}, over the last hour. Now: ${said}`}></div>
  </figure>`;
}
