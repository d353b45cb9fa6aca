// The upstream's load: reads the legacy API's counters once a second and sends the crowd in and out.

import { drawLoad, rate } from './charts.js';
import { setClockOffset } from './follow.js';

const WINDOW_MS = 120000;
const RATE_MS = 5000;
const PAGE_FOLLOWERS = 5;
const SHORT_POLL_SECONDS = 2;
const CLOCKS_DIFFER_MS = 250;

const find = (id) => document.getElementById(id);
const put = (id, words) => { const element = find(id); if (element.textContent !== words) element.textContent = words; };

export class Load {
  constructor() {
    this.samples = [];
    this.counts = [];
    this.crowd = { asked: 0, connected: 0, limit: 2000 };
    for (const button of document.querySelectorAll('[data-add]')) {
      button.addEventListener('click', () => this.resize(button.dataset.add === 'none' ? 0 : this.crowd.asked + Number(button.dataset.add)));
    }
  }
  start() { this.running = true; this.counts = []; this.tick(); }
  stop() { this.running = false; clearTimeout(this.timer); }

  async tick() {
    const started = performance.now();
    try {
      const before = Date.now();
      const answer = await fetch('/stats', { cache: 'no-store' });
      const stats = await answer.json();
      this.compareClocks(stats.now_ms, before, Date.now());
      this.take(stats);
      this.onstats?.(stats);
    } catch {
      put('load-status', 'The counters cannot be read; trying again.');
    }
    clearTimeout(this.timer);
    if (this.running) this.timer = setTimeout(() => this.running && this.tick(), Math.max(100, 1000 - (performance.now() - started)));
  }

  compareClocks(server, before, after) {
    const offset = server - (before + after) / 2;
    const differ = Math.abs(offset) > CLOCKS_DIFFER_MS + (after - before) / 2;
    setClockOffset(differ ? offset : 0);
    put('clock-note', differ ? ' (they differ here by about ' + Math.round(Math.abs(offset)).toLocaleString('en') + ' ms, which is taken off)' : '');
  }

  take(stats) {
    const { crowd } = stats, requests = stats.pollcast.requests;
    if (this.counts.length && requests < this.counts.at(-1).requests) this.counts = [];   // the demo was restarted
    this.counts.push({ at: stats.now_ms, requests });
    while (this.counts.length > 2 && this.counts[1].at < stats.now_ms - RATE_MS) this.counts.shift();
    const first = this.counts[0];
    const followers = crowd.connected + PAGE_FOLLOWERS;
    const would = followers / SHORT_POLL_SECONDS;
    this.crowd = crowd;
    put('load-followers', followers.toLocaleString('en'));
    put('flow-followers', followers.toLocaleString('en'));
    put('load-crowd', crowd.connected.toLocaleString('en'));
    put('load-would', rate(would));
    put('load-status', this.words(crowd));
    if (stats.now_ms - first.at < 1500) return;
    const own = (requests - first.requests) / ((stats.now_ms - first.at) / 1000);
    this.samples.push({ at: Date.now(), own, would });
    while (this.samples.length > 1 && this.samples[1].at < Date.now() - WINDOW_MS) this.samples.shift();
    put('load-rate', rate(own));
    put('flow-rate', rate(own));
    put('load-saved', own < would ? `${(100 * (1 - own / would)).toFixed(own / would < .1 ? 1 : 0)} %` : 'none yet');
    this.draw();
    this.onpoll?.(requests);
  }

  words(crowd) {
    if (crowd.connected < crowd.asked) {
      const reason = crowd.last_failure ? ` Last failure: ${crowd.last_failure}.` : '';
      return `${crowd.connected.toLocaleString('en')} of ${crowd.asked.toLocaleString('en')} connected.${reason}`;
    }
    if (crowd.asked && crowd.asked >= crowd.limit) return `The crowd is limited to ${crowd.limit.toLocaleString('en')}.`;
    if (crowd.asked) return `${crowd.messages.toLocaleString('en')} messages delivered to the crowd`;
    return `Up to ${crowd.limit.toLocaleString('en')} clients.`;
  }

  async resize(clients) {
    try {
      const answer = await fetch(`/crowd?clients=${clients}`, { method: 'POST' });
      const crowd = await answer.json();
      if (!answer.ok) throw new Error(crowd.detail);
      this.crowd = crowd;
      put('load-status', this.words(crowd));
    } catch (failure) {
      put('load-status', `The crowd did not change: ${failure.message}`);
    }
  }

  draw() { drawLoad(find('load-chart'), this.samples, Date.now(), WINDOW_MS); }
}
