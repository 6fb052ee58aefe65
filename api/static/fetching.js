// Asking the API, and asking it again.

import { changing, signIn } from "./signing.js";

const PATIENCE = 10_000; // milliseconds for one answer
const EVERY = 2_000;
const SLOWEST = 30_000; // while the page is hidden, or the API is away

// What the API refused, with its status and the problem's text.
export class Refused extends Error {
  constructor(status, text) {
    super(sentence(text));
    this.status = status;
  }
}

// Every request of the pages goes through here.
export async function request(method, path, { query = {}, body, headers = {} } = {}) {
  const wanted = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== "" && value !== null && value !== undefined) wanted.set(name, value);
  }
  const told = { Accept: "application/json", ...headers, ...(method === "GET" ? {} : await changing()) };
  if (body !== undefined) told["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(wanted.size > 0 ? `${path}?${wanted}` : path, {
      method, headers: told, body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE),
    });
  } catch {
    throw new Error("The API cannot be reached");
  }
  if (answer.status === 401) signIn();
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Refused(answer.status, problem.detail ?? problem.title ?? `The API answered ${answer.status}`);
  }
  return answer;
}

export async function get(path, query = {}) {
  return (await request("GET", path, { query })).json();
}

export async function send(method, path, body = {}, headers = {}) {
  return (await request(method, path, { body, headers })).json();
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

// Calls `ask` every two seconds, or as often as `every` says (milliseconds); ever more rarely while
// it fails, and rarely while nobody looks. Gives a function that asks at once.
export function poll(ask, failed, every = () => EVERY) {
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
    if (document.hidden) return SLOWEST;
    return failures === 0 ? every() : Math.min(EVERY * 2 ** failures, SLOWEST);
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) turn();
  });
  turn();
  return turn;
}
