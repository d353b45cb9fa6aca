// Canvas drawing: the timeline of the lanes, the bars of a card, the load chart. Knows numbers and colours only.

const WINDOW_S = 30, NARROW_WINDOW_S = 14;
const LABEL = 154;
const VALUE = 84;
const SHORT_NAMES = { short: 'Short poll', long: 'Long-poll', sse: 'SSE', ws: 'WebSocket' };
const SANS = 'ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';

let tones = {};
export function readTones() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ['ink', 'soft', 'faint', 'line', 'line-strong', 'own', 'old', 'surface']) tones[name] = style.getPropertyValue(`--${name}`).trim();
}

function surface(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext('2d');
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

function text(pen, words, x, y, { tone = 'ink', size = 13, weight = 400, align = 'left' } = {}) {
  pen.font = `${weight} ${size}px ${SANS}`;
  pen.fillStyle = tones[tone];
  pen.textAlign = align;
  pen.textBaseline = 'middle';
  pen.fillText(words, x, y);
}

function stroke(pen, tone, width, points, dash = []) {
  pen.strokeStyle = tones[tone];
  pen.lineWidth = width;
  pen.lineJoin = 'round';
  pen.setLineDash(dash);
  pen.beginPath();
  points.forEach(([x, y], at) => (at ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
  pen.setLineDash([]);
}

export const milliseconds = (value) => value === undefined ? '–' : value < 0 ? '0 ms'
  : value < 9950 ? `${Math.round(value).toLocaleString('en')} ms` : `${(value / 1000).toFixed(1)} s`;

/**
 * Lanes: the server's bids on top, one lane a technique; a bar from the bid to its dot is the delay.
 * Returns how many seconds are shown.
 */
export function drawTimeline(canvas, followers, now) {
  const { pen, width, height } = surface(canvas);
  const narrow = width < 560;
  const windowMs = 1000 * (narrow ? NARROW_WINDOW_S : WINDOW_S);
  const left = narrow ? 92 : LABEL, right = width - (narrow ? 74 : VALUE + 12);
  const rows = followers.length + 1, step = height / rows;
  const at = (moment) => right - ((now - moment) / windowMs) * (right - left);
  const middle = (row) => Math.round(step * (row + .5)) + .5;

  const bids = new Set(followers.flatMap((one) => one.marks.map((mark) => mark.changed)));
  pen.save();
  pen.beginPath(); pen.rect(left, 0, right - left + 6, height); pen.clip();
  for (const bid of bids) {
    const x = at(bid);
    pen.globalAlpha = .55; stroke(pen, 'line-strong', 1, [[x, middle(0) + 8], [x, height]], [2, 3]); pen.globalAlpha = 1;
    stroke(pen, 'ink', 2, [[x, middle(0) - 7], [x, middle(0) + 7]]);
  }
  followers.forEach((one, index) => {
    const y = middle(index + 1), tone = one.old ? 'old' : 'own';
    stroke(pen, 'line', 1, [[left, y], [right, y]]);
    for (const blank of one.blanks) {
      pen.strokeStyle = tones.faint; pen.fillStyle = tones.surface; pen.lineWidth = 1.3;
      pen.beginPath(); pen.arc(at(blank), y, 2.6, 0, 7); pen.fill(); pen.stroke();
    }
    for (const mark of one.marks) {
      const from = at(mark.changed), to = at(mark.shown);
      pen.globalAlpha = .32; pen.lineCap = 'round'; stroke(pen, tone, 7, [[from, y], [to, y]]); pen.globalAlpha = 1; pen.lineCap = 'butt';
      pen.fillStyle = tones[tone];
      pen.beginPath(); pen.arc(to, y, 4.6, 0, 7); pen.fill();
    }
  });
  pen.restore();

  text(pen, 'Legacy API', 0, middle(0), { tone: 'soft', weight: 500 });
  text(pen, narrow ? 'median' : 'median delay', width, middle(0), { tone: 'soft', size: 12.5, align: 'right' });
  followers.forEach((one, index) => {
    const y = middle(index + 1);
    text(pen, narrow ? SHORT_NAMES[one.id] : one.name, 0, y, { weight: 560 });
    text(pen, milliseconds(one.median), width, y, { tone: one.old ? 'old' : 'own', weight: 600, align: 'right' });
  });
  return windowMs / 1000;
}

/** The delays of the last messages as bars; all cards share one scale. */
export function drawDelays(canvas, follower, longest) {
  const { pen, width, height } = surface(canvas);
  const bar = 5, gap = 3, count = Math.max(1, Math.floor((width + gap) / (bar + gap)));
  const shown = follower.delays.slice(-count);
  stroke(pen, 'line', 1, [[0, height - .5], [width, height - .5]]);
  pen.fillStyle = tones[follower.old ? 'old' : 'own'];
  shown.forEach((delay, index) => {
    const tall = Math.max(2, Math.min(1, delay / longest) * (height - 4));
    pen.globalAlpha = index === shown.length - 1 ? 1 : .5;
    pen.beginPath();
    pen.roundRect(width - (shown.length - index) * (bar + gap) + gap, height - 1 - tall, bar, tall, [2, 2, 0, 0]);
    pen.fill();
  });
  pen.globalAlpha = 1;
}

const NICE = [4, 8, 12, 20, 40, 60, 80, 120, 200, 400, 600, 800, 1200, 2000];
export const rate = (value) => value.toLocaleString('en', value < 10 ? { minimumFractionDigits: 1, maximumFractionDigits: 1 } : { maximumFractionDigits: 0 });

/** `samples`: {at, own, would}. Both lines on one linear scale, named at their ends. */
export function drawLoad(canvas, samples, now, windowMs) {
  const { pen, width, height } = surface(canvas);
  const left = 42, right = width - (width < 560 ? 64 : 92), top = 30, bottom = height - 26;
  const most = samples.reduce((top, one) => Math.max(top, one.would, one.own), 4);
  const scale = NICE.find((nice) => nice >= most * 1.08) ?? most * 1.1;
  const x = (moment) => right - ((now - moment) / windowMs) * (right - left);
  const y = (value) => bottom - (value / scale) * (bottom - top);

  for (let line = 0; line <= 4; line += 1) {
    const value = (scale / 4) * line, level = Math.round(y(value)) + .5;
    stroke(pen, line ? 'line' : 'line-strong', 1, [[left, level], [right, level]]);
    text(pen, Number.isInteger(value) ? value.toLocaleString('en') : value.toFixed(1), left - 10, level, { tone: 'soft', size: 12, align: 'right' });
  }
  text(pen, 'Requests a second', 0, 8, { tone: 'soft', size: 12 });
  for (const back of width < 560 ? [120, 60] : [120, 90, 60, 30]) {
    if (back * 1000 <= windowMs) text(pen, `−${back} s`, x(now - back * 1000), bottom + 15, { tone: 'soft', size: 12, align: back === 120 ? 'left' : 'center' });
  }
  text(pen, 'now', right, bottom + 15, { tone: 'soft', size: 12, align: 'center' });
  if (!samples.length) return;

  const last = samples.at(-1);
  const line = (key) => [...samples.map((one) => [x(one.at), y(one[key])]), [right, y(last[key])]];
  pen.save();
  pen.beginPath(); pen.rect(left, 0, right - left + 1, height); pen.clip();
  const would = line('would');
  pen.globalAlpha = .09; pen.fillStyle = tones.old;
  pen.beginPath(); pen.moveTo(would[0][0], bottom); would.forEach(([px, py]) => pen.lineTo(px, py)); pen.lineTo(right, bottom); pen.fill();
  pen.globalAlpha = 1;
  stroke(pen, 'old', 2, would, [6, 4]);
  stroke(pen, 'own', 2.6, line('own'));
  pen.restore();

  let high = y(last.would), low = y(last.own);
  if (Math.abs(high - low) < 18) {
    const middle = Math.min((high + low) / 2, bottom - 9);
    const up = last.would >= last.own ? 1 : -1;
    high = middle - 9 * up; low = middle + 9 * up;
  }
  text(pen, `${rate(last.would)}/s`, right + 10, high, { tone: 'old', weight: 600 });
  text(pen, `${rate(last.own)}/s`, right + 10, low, { tone: 'own', weight: 600 });
}
