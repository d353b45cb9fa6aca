// One card a technique: the auction as it sees it, its delays and what it cost.

import { drawDelays, milliseconds } from './charts.js';

const STATES = { idle: 'idle', connecting: 'connecting', live: 'live', retrying: 'reconnecting', stale: 'stale', paused: 'paused' };
const whole = (value) => value.toLocaleString('en');
export const bytes = (value) => value < 1000 ? `${value} B` : value < 1e6 ? `${(value / 1e3).toFixed(1)} kB` : `${(value / 1e6).toFixed(2)} MB`;
export const money = (lot) => new Intl.NumberFormat('en', { style: 'currency', currency: lot.currency, maximumFractionDigits: 0 }).format(lot.bid);

/** Small preferences; a browser that keeps nothing throws on the mere mention of its storage. */
export function recall(name) { try { return localStorage.getItem(name); } catch { return null; } }
export function remember(name, value) { try { localStorage.setItem(name, value); } catch { /* for this visit only */ } }

export function make(tag, className, words) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (words !== undefined) element.textContent = words;
  return element;
}

export function setPill(pill, state) {
  pill.textContent = STATES[state] ?? state;
  pill.dataset.state = state === 'live' ? 'live' : state === 'retrying' || state === 'stale' ? 'bad' : '';
}

export class Card {
  constructor(follower, parent) {
    this.follower = follower;
    const card = make('article', `panel card${follower.old ? ' old' : ''}`);
    const header = make('header');
    const title = make('h3', '', follower.name);
    title.id = `card-${follower.id}`;
    card.setAttribute('aria-labelledby', title.id);
    this.pill = make('span', 'pill');
    header.append(title, this.pill);
    const how = make('p', 'how', follower.how);
    how.title = follower.how;

    this.served = make('p', 'how');
    this.served.hidden = true;

    this.bid = make('div', 'bid');
    this.amount = make('strong', '', '–');
    this.bidder = make('span', '', 'waiting for the first answer');
    this.bid.append(this.amount, this.bidder);

    const delay = make('div', 'delay');
    const figures = make('div');
    this.median = make('strong', '', '–');
    this.last = make('span', 'dim num', 'last –');
    figures.append(make('span', 'kicker', 'Median delay'), this.median, this.last);
    this.chart = make('canvas');
    this.chart.setAttribute('role', 'img');
    this.chart.setAttribute('aria-label', `Delay of each recent message over ${follower.name}`);
    delay.append(figures, this.chart);

    const list = make('dl');
    this.facts = {};
    for (const [key, name] of [['messages', 'Messages'], ['requests', 'Requests'], ['headers', 'Header bytes'], ['data', 'Data bytes']]) {
      const row = make('div');
      const value = make('dd');
      this.facts[key] = [value.appendChild(document.createTextNode('0')), value.appendChild(make('small'))];
      row.append(make('dt', '', name), value);
      list.append(row);
    }
    const weight = make('div', 'weight');
    weight.setAttribute('aria-hidden', 'true');
    this.headerBar = weight.appendChild(make('i'));
    this.dataBar = weight.appendChild(make('i'));
    weight.title = 'Grey: headers. Coloured: data. All cards on one scale.';
    card.append(header, how, this.served, this.bid, delay, list, weight);
    parent.append(card);
  }

  /** Says through which nodes it goes, where there are several. */
  serve(nodes) {
    this.served.hidden = !nodes.length;
    this.served.textContent = `through ${nodes.join(', ')}`;
  }

  render(fresh, most, longest) {
    const { follower } = this;
    setPill(this.pill, follower.state);
    if (follower.lot) {
      this.amount.textContent = money(follower.lot);
      this.bidder.textContent = follower.lot.bidder ? `${follower.lot.bidder}, bid ${whole(follower.lot.bids)}` : 'no bid yet';
    }
    if (fresh) {
      this.bid.classList.remove('fresh');
      void this.bid.offsetWidth;   // restarts the animation
      this.bid.classList.add('fresh');
    }
    this.median.textContent = milliseconds(follower.median);
    this.last.textContent = `last ${milliseconds(follower.last)}`;
    for (const key of ['messages', 'requests']) this.facts[key][0].data = whole(follower[key]);
    for (const key of ['headers', 'data']) this.facts[key][0].data = bytes(follower[key]);
    this.facts.headers[1].textContent = ` ${follower.basis}`;
    this.headerBar.style.width = `${(100 * follower.headers) / most}%`;
    this.dataBar.style.width = `${(100 * follower.data) / most}%`;
    drawDelays(this.chart, follower, longest);
  }
}
