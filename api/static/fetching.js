// Asking the API, and asking it again.

import { signIn } from "./session.js";

const PATIENCE = 10_000; // milliseconds for one answer
const EVERY = 2_000;
const SLOWEST = 30_000; // while the page is hidden, or the API is away

export async function get(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== "" && value !== null && value !== undefined) query.set(name, value);
  }
  const address = query.size > 0 ? `${path}?${query}` : path;
  let answer;
  try {
    answer = await fetch(address, {
      headers: { Accept: "application/json" }, signal: AbortSignal.timeout(PATIENCE),
    });
  } catch {
    throw new Error("The API cannot be reached");
  }
  if (answer.status === 401) signIn();
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Error(sentence(problem.detail ?? problem.title ?? `The API answered ${answer.status}`));
  }
  return answer.json();
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

// Calls `ask` every two seconds; ever more rarely while it fails, and rarely while nobody looks.
export function poll(ask, failed) {
  let timer = 0;
  let failures = 0;
  let running = false;
  let again = false;

  async function turn() {
    clearTimeout(timer);
    if (running) {
      again = true; // asked in the middle: once more, at once
      return;
    }
    running = true;
    try {
      await ask();
      failures = 0;
    } catch (error) {
      failures += 1;
      failed(error, delay());
    }
    running = false;
    timer = setTimeout(turn, again ? 0 : delay());
    again = false;
  }

  function delay() {
    return document.hidden ? SLOWEST : Math.min(EVERY * 2 ** failures, SLOWEST);
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) turn();
  });
  turn();
  return turn;
}
