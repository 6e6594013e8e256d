// What the page asks of `pulsegate web`, and what it does while no answer comes.

/** Thrown for an answer that is no success. `status` is that of HTTP, 0 without an answer. */
class Failed extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function request(method, path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(10_000),
    });
  } catch {
    throw new Failed(0, "pulsegate web does not answer");
  }
  const text = await answer.text();
  let parsed = null;
  try { parsed = text === "" ? null : JSON.parse(text); } catch { /* An error page of a proxy. */ }
  if (!answer.ok) throw new Failed(answer.status, parsed?.detail ?? parsed?.error ?? `${answer.status} ${answer.statusText}`);
  return parsed;
}

const get = (path) => request("GET", path);

/** Follows `/api/events`. The browser reconnects by itself and resumes behind the last event. */
function follow(query, onEvent) {
  const source = new EventSource(`api/events?${query}`);
  source.addEventListener("message", (message) => onEvent(JSON.parse(message.data)));
  return () => source.close();
}

/** Repeats a task until its view goes: at once, then `pause` milliseconds after each end. A hidden page rests. */
function repeat(pause, task) {
  let timer = null;
  let gone = false;
  async function run() {
    clearTimeout(timer);
    if (gone) return;
    if (!document.hidden) {
      try { await task(); } catch (error) { if (!(error instanceof Failed)) throw error; }
    }
    if (!gone) timer = setTimeout(run, pause);
  }
  document.addEventListener("visibilitychange", run);
  run();
  return { now: run, stop() { gone = true; clearTimeout(timer); document.removeEventListener("visibilitychange", run); } };
}
