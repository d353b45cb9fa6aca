// The four techniques as followers of one resource. Each keeps its own tally; none knows how it is drawn.

export const PATH = '/auction/1';
const SHORT_POLL_MS = 2000;
const HELD_SECONDS = 30;
const KEEP_MS = 40000;
const KEEP_DELAYS = 200;
const RESPONSE_LINE = 'HTTP/1.1 200 OK\r\n\r\n'.length;

/** What a fetch of this page costs in request head bytes; asked of the server once. */
let requestBase = { bytes: 480, basis: 'estimated' };
/** Server clock minus browser clock, milliseconds; zero on one machine. */
const clock = { offset: 0 };

export function setClockOffset(offset) { clock.offset = offset; }
export const serverNow = () => Date.now() + clock.offset;

export async function learnRequestSize() {
  try {
    const answer = await fetch('/echo', { cache: 'no-store' });
    const { request_head_bytes: bytes } = await answer.json();
    requestBase = { bytes: bytes - '/echo'.length, basis: 'counted' };
  } catch { /* the estimate stays */ }
}

const lineBytes = (name, value) => name.length + value.length + 4;
const headBytes = (response) => [...response.headers].reduce((sum, [name, value]) => sum + lineBytes(name, value), RESPONSE_LINE);
const textBytes = (text) => new TextEncoder().encode(text).length;

class Follower {
  constructor(id, name, how, old = false) {
    Object.assign(this, { id, name, how, old, state: 'idle', lot: null, messages: 0, requests: 0, headers: 0, data: 0, basis: 'counted' });
    this.delays = [];   // milliseconds, one a change
    this.marks = [];    // {changed, shown}, server clock
    this.blanks = [];   // moments of answers that brought nothing
    this.seen = 0;      // changed_at_ms of the newest state shown
    this.round = null;  // bids when this follower started, to know how many changes there were
    this.onchange = () => {};
  }
  start() { this.since = serverNow(); this.running = true; this.set('connecting'); this.run(); }
  stop() { this.running = false; this.round = null; this.close?.(); this.set('paused'); }
  set(state) { this.state = state; this.onchange(this, false); }

  /** A body arrived. The state at the start is no change, so it has no delay. */
  show(text) {
    const shown = serverNow();
    this.data += textBytes(text);
    const lot = JSON.parse(text);
    if (lot.changed_at_ms <= this.seen) { this.blank(); return; }
    this.messages += 1;
    this.seen = lot.changed_at_ms;
    if (lot.changed_at_ms > this.since) {
      this.delays.push(shown - lot.changed_at_ms);
      if (this.delays.length > KEEP_DELAYS) this.delays.shift();
      this.marks.push({ changed: lot.changed_at_ms, shown });
    }
    while (this.marks.length && this.marks[0].shown < shown - KEEP_MS) this.marks.shift();
    this.lot = lot;
    this.set('live');
    this.onchange(this, true);
  }
  blank() {
    const now = serverNow();
    this.blanks.push(now);
    while (this.blanks.length && this.blanks[0] < now - KEEP_MS) this.blanks.shift();
    this.onchange(this, false);
  }
  asked(extra) {
    this.requests += 1;
    this.headers += requestBase.bytes + this.path.length + extra;
    if (requestBase.basis === 'estimated') this.basis = 'estimated';
  }
  get last() { return this.delays.at(-1); }
  get median() {
    if (!this.delays.length) return undefined;
    const sorted = [...this.delays].sort((a, b) => a - b);
    const half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }
}

class Polling extends Follower {
  /** One conditional fetch; returns false when it failed. */
  async ask(headers) {
    if (this.tag) headers['If-None-Match'] = this.tag;
    this.asked(Object.entries(headers).reduce((sum, [name, value]) => sum + lineBytes(name, value), 0));
    const abort = this.abort = new AbortController();
    try {
      const response = await fetch(this.path, { headers, cache: 'no-store', signal: abort.signal });
      this.pendingHead = headBytes(response);
      this.headers += this.pendingHead;
      this.tag = response.headers.get('etag') ?? this.tag;
      if (response.status === 304) { this.set('live'); this.blank(); }
      else if (response.ok) this.show(await response.text());
      else throw new Error(`status ${response.status}`);
      return true;
    } catch {
      if (!abort.signal.aborted) this.set('retrying');
      return false;
    }
  }
  close() { this.abort?.abort(); }
}

class ShortPoll extends Polling {
  path = '/direct' + PATH;
  async run() {
    const turn = this.turn = {};
    while (this.running && this.turn === turn) {
      const started = performance.now();
      await this.ask({});
      await new Promise((done) => setTimeout(done, Math.max(0, SHORT_POLL_MS - (performance.now() - started))));
    }
  }
}

class LongPoll extends Polling {
  path = PATH;
  async run() {
    const turn = this.turn = {};
    while (this.running && this.turn === turn) {
      const asked = performance.now();
      const good = await this.ask({ Prefer: `wait=${HELD_SECONDS}` });
      // Held answers come late or with news. One that is quick and empty must not become a tight loop.
      if (!good || performance.now() - asked < 20) await new Promise((done) => setTimeout(done, good ? 250 : 2000));
    }
  }
}

class Sse extends Follower {
  path = PATH;
  async run() {
    this.basis = 'estimated';
    const source = this.source = new EventSource(this.path);
    source.onopen = () => { this.asked(lineBytes('Accept', 'text/event-stream')); this.headers += this.headCost ?? 330; this.set('live'); };
    source.onmessage = (event) => {
      // id line, "data: ", two line ends, and the chunk around them
      this.headers += `id: ${event.lastEventId}\ndata: \n\n`.length + 7;
      this.show(event.data);
    };
    source.addEventListener('stale', () => this.set('stale'));
    source.addEventListener('fresh', () => this.set('live'));
    source.onerror = () => {
      if (!this.running) return;
      this.set('retrying');
      if (source.readyState === EventSource.CLOSED) this.timer = setTimeout(() => this.running && this.run(), 3000);
    };
  }
  close() { clearTimeout(this.timer); this.source?.close(); }
}

class Socket extends Follower {
  path = PATH;
  run() {
    this.basis = 'estimated';
    const socket = this.socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}${this.path}`);
    // The four handshake headers each way; the browser shows neither side.
    socket.onopen = () => { this.asked(150); this.headers += 129; this.set('live'); };
    socket.onmessage = (event) => { this.headers += event.data.length < 126 ? 2 : 4; this.show(event.data); };
    socket.onclose = () => {
      if (!this.running || this.socket !== socket) return;
      this.set('retrying');
      this.timer = setTimeout(() => this.running && this.run(), 2000);
    };
  }
  close() { clearTimeout(this.timer); this.socket?.close(); }
}

/** EventSource hides its response head, so one stream is opened with fetch, read as far as the head, and left. */
async function learnStreamHead(sse) {
  const abort = new AbortController();
  try {
    const response = await fetch(PATH, { headers: { Accept: 'text/event-stream' }, cache: 'no-store', signal: abort.signal });
    sse.headCost = headBytes(response);
  } catch { /* the estimate stays */ }
  abort.abort();
}

export function followers() {
  return [
    new ShortPoll('short', 'Short polling', 'GET every 2 s, straight at the API', true),
    new LongPoll('long', 'Held long-poll', `GET, Prefer: wait=${HELD_SECONDS}`),
    new Sse('sse', 'Server-Sent Events', `new EventSource('${PATH}')`),
    new Socket('ws', 'WebSocket', `new WebSocket('${PATH}')`),
  ];
}

/**
 * Replaces counted response heads by measured ones where the browser measures. Several report a constant
 * 300 bytes instead, as the specification allows; that is no measurement and is left out.
 */
export function measureHeads(all) {
  const polling = all.filter((follower) => follower instanceof Polling);
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const follower = polling.find((one) => new URL(entry.name).pathname === one.path && entry.initiatorType === 'fetch');
      const head = entry.transferSize - entry.encodedBodySize;
      if (!follower || follower.pendingHead === undefined || head <= 0 || head === 300) continue;
      follower.headers += head - follower.pendingHead;
      follower.pendingHead = undefined;
      follower.basis = 'measured';
    }
    performance.clearResourceTimings();
  });
  try { observer.observe({ type: 'resource' }); } catch { /* an old browser: counted */ }
}

export async function learnCosts(all) {
  await learnRequestSize();
  await learnStreamHead(all.find((follower) => follower.id === 'sse'));
}
