// The stream of the admin listener, read with fetch: an EventSource cannot send a token.
const KEY = "pollcast.admin.token";

export const token = {
  get: () => sessionStorage.getItem(KEY) || "",
  set: (value) => value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY),
};

const headers = () => (token.get() ? { authorization: `Bearer ${token.get()}` } : {});

// `query()` is what to ask for now. Calls `tell(name, data)` for each event, and `state(word)` as the connection comes and goes: "live", "token", "busy"
// or "lost". Returns a function that ends it.
export function follow(query, tell, state) {
  const aborter = new AbortController();
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  (async () => {
    while (!aborter.signal.aborted) {
      try {
        const answer = await fetch("/-/dashboard/stream?" + query(), { headers: headers(), signal: aborter.signal });
        if (answer.status === 401) return state("token");
        if (!answer.ok) throw new Error(answer.status === 503 ? "busy" : "lost");
        state("live");
        await read(answer.body.getReader(), tell);
        throw new Error("lost");
      } catch (error) {
        if (aborter.signal.aborted) return;
        state(error.message === "busy" ? "busy" : "lost");
        await wait(2000);
      }
    }
  })();
  return () => aborter.abort();
}

async function read(reader, tell) {
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true });
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const [first, second] = event.split("\n");
      tell(first.slice("event: ".length), JSON.parse(second.slice("data: ".length)));
    }
  }
}

// Makes a call that has an effect. Returns what to say of it.
export const call = (path) => request(path, "POST");

// Asks for JSON. Returns it as `said`, or what to say of a failure as `text`.
export const ask = (path) => request(path, "GET");

async function request(path, method) {
  try {
    const answer = await fetch(path, { method, headers: headers() });
    const said = await answer.json().catch(() => ({}));
    const text = said.detail || Object.entries(said).map(([name, value]) => `${name}: ${typeof value === "object" ? words(value) : value}`).join(", ");
    return { ok: answer.ok, said, text: text || answer.statusText };
  } catch (error) {
    return { ok: false, said: {}, text: "the admin listener was not reached" };
  }
}

const words = (value) => Object.entries(value || {}).map(([name, value]) => `${value} ${name}`).join(", ");
