// Several nodes: which one serves what, how often they poll together, and buttons that kill one and start it again.

import { make, setPill } from './cards.js';

const RATE_MS = 5000;

const find = (id) => document.getElementById(id);

export class Nodes {
  constructor(cards) {
    this.cards = cards;
    this.rows = new Map();
    this.counts = [];
  }

  /** The counters of the legacy API; those of a demo with one node have no cluster. */
  take({ cluster, now_ms: now }) {
    find('nodes').hidden = !cluster;
    find('nodes-link').hidden = !cluster;
    if (!cluster) return;
    for (const node of cluster.nodes) this.row(node).show(node, this.pollsOf(node.name, cluster));
    this.count(cluster, now);
    for (const card of this.cards) card.serve(nodesOf(cluster, card.follower.id));
    this.list(cluster);
  }

  row(node) {
    if (!this.rows.has(node.name)) {
      const row = new Row(node.name);
      this.rows.set(node.name, row);
      find('nodes-list').append(row.element);
    }
    return this.rows.get(node.name);
  }

  pollsOf(name, { holders }) { return Object.keys(holders).filter((path) => holders[path] === name); }

  /** Polls of each path for each interval, over the last seconds. */
  count({ polled, interval_ms: interval }, now) {
    if (this.counts.length && now < this.counts.at(-1).now) this.counts = [];
    this.counts.push({ now, polled });
    while (this.counts.length > 2 && this.counts[1].now < now - RATE_MS) this.counts.shift();
    const first = this.counts[0];
    this.rates = {};
    if (now - first.now < RATE_MS / 2) return;
    for (const [path, count] of Object.entries(polled)) {
      this.rates[path] = ((count - (first.polled[path] ?? 0)) * interval) / (now - first.now);
    }
  }

  list({ holders, streams }) {
    const body = find('nodes-paths');
    const paths = [...new Set([...Object.keys(holders), ...streams.map((stream) => stream.path)])].sort();
    const cells = paths.map((path) => [
      path,
      holders[path] ?? 'no node',
      this.rates[path] === undefined ? '–' : this.rates[path].toFixed(2),
      streams.filter((stream) => stream.path === path).map((stream) => `${stream.technique} ${stream.node}`).join(', ') || '–',
    ]);
    body.replaceChildren(...cells.map((row) => {
      const element = make('tr');
      element.append(...row.map((words, at) => make('td', at === 2 ? 'num' : '', words)));
      return element;
    }));
  }
}

const nodesOf = ({ streams }, technique) =>
  [...new Set(streams.filter((stream) => stream.technique === technique && stream.path.endsWith('/auction/1')).map((stream) => stream.node))];

/** A node's place in the list. */
class Row {
  constructor(name) {
    this.name = name;
    this.element = make('article', 'panel member');
    const header = make('header');
    this.pill = make('span', 'pill');
    header.append(make('h3', '', name), this.pill);
    this.polls = make('p', 'num');
    this.carries = make('p', 'dim num');
    this.button = make('button');
    this.button.type = 'button';
    this.button.addEventListener('click', () => this.change());
    this.element.append(header, this.polls, this.carries, this.button);
  }

  show(node, paths) {
    this.isRunning = node.is_running;
    const state = !node.is_running ? 'killed' : !node.is_ready ? 'starting' : node.has_engine ? 'in the cluster' : 'alone';
    setPill(this.pill, state);
    this.pill.dataset.state = state === 'in the cluster' ? 'live' : state === 'starting' ? '' : 'bad';
    this.polls.textContent = paths.length ? `polls ${paths.join(', ')}` : node.is_running ? 'polls nothing; mirrors the others' : 'polls nothing';
    this.carries.textContent = `${node.connections.toLocaleString('en')} connections`;
    this.button.textContent = node.is_running ? 'Kill it' : 'Start it again';
    this.button.setAttribute('aria-label', `${this.button.textContent}: ${this.name}`);
    this.button.disabled = false;
  }

  async change() {
    this.button.disabled = true;
    try {
      await fetch(`/nodes?${this.isRunning ? 'kill' : 'start'}=${this.name}`, { method: 'POST' });
    } catch { /* the node that carried the request was killed: the next counters show it */ }
  }
}
