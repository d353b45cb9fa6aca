// Chat and document: written with plain requests, shown only when the stream brings them back.

import { make, recall, remember, setPill } from './cards.js';

const find = (id) => document.getElementById(id);
const SAVE_AFTER_MS = 300;

/** An EventSource that can be paused and says how it is. */
class Stream {
  constructor(path, pill, onbody) { Object.assign(this, { path, pill, onbody }); }
  start() {
    this.running = true;
    const source = this.source = new EventSource(this.path);
    setPill(this.pill, 'connecting');
    source.onopen = () => setPill(this.pill, 'live');
    source.onmessage = (event) => { setPill(this.pill, 'live'); this.onbody(JSON.parse(event.data)); };
    source.addEventListener('stale', () => setPill(this.pill, 'stale'));
    source.addEventListener('fresh', () => setPill(this.pill, 'live'));
    source.onerror = () => {
      setPill(this.pill, 'retrying');
      if (source.readyState === EventSource.CLOSED) this.timer = setTimeout(() => this.running && this.start(), 3000);
    };
  }
  stop() { this.running = false; clearTimeout(this.timer); this.source?.close(); setPill(this.pill, 'paused'); }
}

function openChat() {
  const list = find('chat-list'), note = find('chat-note'), name = find('chat-name'), words = find('chat-text');
  const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
  let newest = 0, posted = null;
  name.value = recall('chat-name') ?? '';

  find('chat-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const text = words.value.trim();
    if (!text) return;
    remember('chat-name', name.value);
    const sentAt = performance.now();
    posted = null;
    try {
      const answer = await fetch('/chat/messages', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ from: name.value, text }) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      words.value = '';
      posted = { id: (await answer.json()).id, sentAt };
      if (newest >= posted.id) arrived();
    } catch (failure) {
      note.textContent = `Not sent: ${failure.message}`;
    }
  });
  function arrived() {
    note.textContent = `Sent and back over the stream in ${Math.round(performance.now() - posted.sentAt).toLocaleString('en')} ms`;
    posted = null;
  }

  return new Stream('/chat/messages', find('chat-state'), ({ messages }) => {
    // Add and drop single messages, so that a screen reader hears only the new one.
    const ids = new Set(messages.map((message) => message.id));
    for (const item of [...list.children]) if (!ids.has(Number(item.dataset.id))) item.remove();
    const kept = new Set([...list.children].map((item) => Number(item.dataset.id)));
    for (const message of messages) {
      if (kept.has(message.id)) continue;
      const item = make('li');
      item.dataset.id = message.id;
      item.append(make('b', '', message.from), make('span', '', message.text), make('time', '', clock.format(message.at_ms)));
      list.append(item);
    }
    newest = messages.at(-1)?.id ?? 0;
    list.scrollTop = list.scrollHeight;
    if (posted && newest >= posted.id) arrived();
  });
}

function openDocument() {
  const text = find('document-text'), mirror = find('document-mirror'), note = find('document-note');
  let timer, sent = null, revision = 0;

  async function save() {
    const sentAt = performance.now();
    try {
      const answer = await fetch('/document', { method: 'PUT', headers: { 'Content-Type': 'text/plain; charset=utf-8' }, body: text.value });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      sent = { revision: (await answer.json()).revision, sentAt };
      if (revision >= sent.revision) arrived();
    } catch (failure) {
      note.textContent = `Not saved: ${failure.message}`;
    }
  }
  function arrived() {
    note.textContent = `Revision ${revision}: saved and back over the stream in ${Math.round(performance.now() - sent.sentAt).toLocaleString('en')} ms`;
    sent = null;
  }
  text.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(() => { timer = undefined; save(); }, SAVE_AFTER_MS); });

  return new Stream('/document', find('document-state'), (body) => {
    revision = body.revision;
    mirror.textContent = body.text;
    // Never under the fingers of somebody who writes.
    if (document.activeElement !== text && !timer) text.value = body.text;
    if (sent && revision >= sent.revision) arrived();
  });
}

export const openRooms = () => [openChat(), openDocument()];
