// Puts the page together and decides when it runs: visible, and the newest window of this demo.

import { Card, make, recall, remember } from './cards.js';
import { drawTimeline, readTones } from './charts.js';
import { PATH, followers, learnCosts, measureHeads, serverNow } from './follow.js';
import { Load } from './load.js';
import { Nodes } from './nodes.js';
import { openRooms } from './rooms.js';

const find = (id) => document.getElementById(id);
const still = matchMedia('(prefers-reduced-motion: reduce)');
const all = followers();
const cards = all.map((follower) => new Card(follower, find('cards')));
const load = new Load();
const nodes = new Nodes(cards);
load.onstats = (stats) => nodes.take(stats);
const parts = [...all, load, ...openRooms()];

// What changed since the last frame; drawing happens once a frame however many messages came.
const fresh = new Set();
let dirty = true;
for (const follower of all) {
  follower.onchange = (_, news) => {
    dirty = true;
    if (!news) return;
    fresh.add(follower);
    if (!follower.old) beat('.edge.push span');
  };
}
function beat(selector) {
  const edge = document.querySelector(selector).parentElement;
  if (edge.classList.contains('beat')) return;
  edge.classList.add('beat');
  setTimeout(() => edge.classList.remove('beat'), 620);
}
let polls = 0;
load.onpoll = (requests) => { if (requests !== polls) beat('.edge.poll span'); polls = requests; };

function renderCards() {
  const most = Math.max(1, ...all.map((one) => one.headers + one.data));
  const longest = Math.max(1000, ...all.flatMap((one) => one.delays.slice(-40)));
  for (const card of cards) card.render(fresh.has(card.follower), most, longest);
  fresh.clear();
  dirty = false;
}

function renderLot() {
  const newest = all.reduce((best, one) => (one.lot && one.seen > (best?.seen ?? 0) ? one : best), null)?.lot;
  if (!newest) return;
  find('lot-title').textContent = `Lot ${newest.lot}: ${newest.title}`;
  const left = Math.max(0, Math.round((Date.parse(newest.ends_at) - serverNow()) / 1000));
  find('lot-ends').textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`;
}

const timeline = find('timeline');
let drawnAt = 0;
function drawLanes() {
  const words = `last ${drawTimeline(timeline, all, serverNow())} s`;
  if (find('window').textContent !== words) find('window').textContent = words;
}
function frame(now) {
  // Without motion the timeline moves on with each message and once a second, not with each frame.
  if (running && (!still.matches || dirty || now - drawnAt > 1000)) {
    drawLanes();
    drawnAt = now;
  }
  if (dirty) renderCards();
  requestAnimationFrame(frame);
}

// A browser opens six HTTP/1.1 connections to a host, over all its windows: only the newest window runs.
let running = false, yielded = false;
const windows = 'BroadcastChannel' in window ? new BroadcastChannel('pollcast-demo') : null;
function run() {
  if (running || yielded || document.hidden) return;
  running = true;
  for (const part of parts) part.start();
}
function pause() {
  if (!running) return;
  running = false;
  for (const part of parts) part.stop();
}
function claim() {
  yielded = false;
  find('paused').hidden = true;
  windows?.postMessage('mine');
  run();
}
if (windows) windows.onmessage = () => { yielded = true; find('paused').hidden = false; pause(); };
find('resume').addEventListener('click', claim);
document.addEventListener('visibilitychange', () => (document.hidden ? pause() : run()));
addEventListener('pagehide', pause);
addEventListener('pageshow', (event) => { if (event.persisted) claim(); });

function terminalLines() {
  const url = location.origin + PATH;
  const lines = [
    ['Ordinary poll', `curl -i ${url}`],
    ['Held long-poll', `curl -i --etag-save /tmp/lot1 --etag-compare /tmp/lot1 -H 'Prefer: wait=30' ${url}`],
    ['SSE', `curl -N -H 'Accept: text/event-stream' ${url}`],
    ['WebSocket', `curl -N --http1.1 -o - -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: cG9sbGNhc3QtZGVtby0wMQ==' ${url}`],
  ];
  for (const [name, command] of lines) {
    const row = make('div', 'command');
    const copy = make('button', 'quiet', 'Copy');
    copy.type = 'button';
    copy.setAttribute('aria-label', `Copy the line for ${name}`);
    copy.addEventListener('click', async () => {
      try { await navigator.clipboard.writeText(command); copy.textContent = 'Copied'; } catch { copy.textContent = 'Select it'; }
      setTimeout(() => { copy.textContent = 'Copy'; }, 1500);
    });
    row.append(make('span', '', name), make('code', '', command), copy);
    find('lines').append(row);
  }
}

const THEMES = { auto: 'Auto', light: 'Light', dark: 'Dark' };
function setTheme(theme) {
  const known = theme in THEMES ? theme : 'auto';
  document.documentElement.dataset.theme = known;
  find('theme').textContent = THEMES[known];
  find('theme').setAttribute('aria-label', `${THEMES[known]}: colour theme`);
  remember('theme', known);
  redraw();
}
function redraw() { readTones(); renderCards(); drawLanes(); load.draw(); }
find('theme').addEventListener('click', () => {
  const names = Object.keys(THEMES);
  setTheme(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]);
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
addEventListener('resize', redraw);

terminalLines();
setTheme(recall('theme'));
setInterval(() => { if (running) renderLot(); }, 500);
requestAnimationFrame(frame);
measureHeads(all);
learnCosts(all).then(claim);
