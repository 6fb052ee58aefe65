// The list of alerts: the newest page, kept up to date, or older pages while somebody reads.

import { byId, make, show, write } from "./dom.js";
import * as format from "./format.js";
import { get } from "./fetching.js";

const PAGE = 50;
const MOST = 1_000; // rows; older ones are reached by narrowing the filters
const FRESH = 6_000; // milliseconds that a new row stays marked
const SAY_EVERY = 10_000; // milliseconds between two announcements

const rows = new Map(); // by alert id, in the order shown
let next = null;
let reading = false; // older pages are shown: the list stands still
let paused = false;
let loaded = false;
let waiting = []; // a newer page, held back while a row has the focus or is scrolled to
let unsaid = 0;
let saidAt = 0;
let asked = {}; // the filters
let generation = 0; // counts filter changes: an answer to older filters is dropped

export const isStill = () => paused || reading;
export const isEmpty = () => rows.size === 0;
export const isFiltered = () => Object.values(asked).some((value) => value !== "");

export async function refresh() {
  if (isStill()) return;
  const now = generation;
  const page = await get("/v1/alerts", { ...asked, limit: PAGE });
  if (now !== generation || isStill()) return;
  const news = page.data.filter((alert) => !rows.has(alert.alert_id)).length;
  if (news > 0 && loaded && isHeld()) {
    waiting = [page];
    write("held", news >= PAGE ? `${PAGE}+ new alerts` : format.plural(news, "new alert", "new alerts"));
    show("held", true);
    return;
  }
  render(page);
}

function isHeld() {
  const table = byId("table-box");
  return byId("rows").contains(document.activeElement) || table.getBoundingClientRect().top < -80;
}

function render(page) {
  const body = byId("rows");
  const wanted = new Set(page.data.map((alert) => alert.alert_id));
  for (const [id, row] of rows) {
    if (!wanted.has(id)) {
      row.remove();
      rows.delete(id);
    }
  }
  const known = page.data.filter((alert) => rows.has(alert.alert_id)).length;
  const marks = loaded && known > 0; // where everything is new, nothing stands out
  let news = 0;
  let place = body.firstElementChild;
  for (const alert of page.data) {
    const there = rows.get(alert.alert_id);
    if (there === undefined) {
      const row = rowOf(alert);
      if (marks) {
        row.classList.add("fresh");
        setTimeout(() => row.classList.remove("fresh"), FRESH);
      }
      if (loaded) news += 1;
      body.insertBefore(row, place);
      rows.set(alert.alert_id, row);
    } else if (there === place) {
      place = place.nextElementSibling;
    } else {
      body.insertBefore(there, place);
    }
  }
  next = page.next;
  loaded = true;
  waiting = [];
  show("held", false);
  show("table-box", rows.size > 0);
  show("older", next !== null);
  say(news);
}

// At most one announcement in ten seconds, or nobody could listen to anything else.
function say(news) {
  unsaid += news;
  if (unsaid === 0 || Date.now() - saidAt < SAY_EVERY) return;
  write("said", format.plural(unsaid, "new alert", "new alerts"));
  saidAt = Date.now();
  unsaid = 0;
}

function rowOf(alert) {
  const at = new Date(alert.event_time);
  return make("tr", { role: "row", "data-decision": alert.decision, "data-alert": alert.alert_id },
    cell("time", make("time", { dateTime: alert.event_time, title: `Transaction ${alert.transaction_id}` },
      make("b", {}, format.timeOfDay(at)), " ", make("span", { class: "quiet" }, format.date(at)))),
    cell("score", bar(alert.score), make("span", {}, format.score(alert.score))),
    cell("decision", make("span", { class: "badge" }, alert.decision),
      ...(alert.status === "open" ? [] : [" ", make("span", { class: "quiet" }, alert.status)])),
    cell("amount number", format.money(alert.amount, alert.amount_minor, alert.currency)),
    cell("card", narrow("card_token", alert.card_token, "card")),
    cell("terminal", narrow("terminal_id", alert.terminal_id, "terminal")),
    cell("reasons", reasons(alert.reasons)),
  );
}

function cell(kind, ...children) {
  return make("td", { role: "cell", class: kind }, ...children);
}

function bar(score) {
  const filled = make("i", {});
  filled.style.width = `${Math.max(score * 100, 2).toFixed(1)}%`;
  return make("span", { class: "bar", "aria-hidden": "true" }, filled);
}

// A value that narrows the list to itself.
function narrow(field, value, kind) {
  const button = make("button", { type: "button", class: "code", title: `Only alerts of ${kind} ${value}` }, value);
  button.addEventListener("click", () => {
    byId("filters").elements[field].value = value;
    byId("alerts").focus({ preventScroll: true }); // the button goes with its row
    byId("filters").dispatchEvent(new Event("change"));
  });
  return button;
}

function reasons(given) {
  if (given.length === 0) return make("span", { class: "quiet" }, "no reason was given");
  return make("ul", {}, ...given.map((reason) => make("li", { title: `${reason.code}, weight ${reason.weight.toFixed(2)}` }, reason.text)));
}

async function older() {
  const now = generation;
  const button = byId("older");
  button.disabled = true;
  try {
    const page = await get("/v1/alerts", { ...asked, limit: PAGE, after: next });
    if (now !== generation) return;
    reading = true;
    for (const alert of page.data) {
      if (rows.has(alert.alert_id)) continue;
      const row = rowOf(alert);
      byId("rows").append(row);
      rows.set(alert.alert_id, row);
    }
    next = page.next;
    show("older", next !== null && rows.size < MOST);
    write("said", `${format.plural(page.data.length, "older alert", "older alerts")} shown`);
  } finally {
    button.disabled = false;
  }
}

function readFilters() {
  const form = new FormData(byId("filters"));
  asked = Object.fromEntries([...form].map(([name, value]) => [name, String(value).trim()]));
  const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value !== ""));
  history.replaceState(null, "", query.size > 0 ? `?${query}` : location.pathname);
}

function restoreFilters() {
  const form = byId("filters");
  for (const [name, value] of new URLSearchParams(location.search)) {
    if (form.elements[name]) form.elements[name].value = value;
  }
  readFilters();
}

function clear() {
  generation += 1;
  reading = false;
  loaded = false;
  rows.clear();
  byId("rows").replaceChildren();
  next = null;
  show("held", false);
  show("table-box", false);
  show("older", false);
}

export function clearFilters() {
  byId("filters").reset();
  byId("filters").dispatchEvent(new Event("change"));
}

// `changed` is called when the list must be asked for anew, `failed` with what went wrong.
export function listen(changed, failed) {
  restoreFilters();
  const form = byId("filters");
  let typing = 0;
  const apply = () => {
    clearTimeout(typing);
    readFilters();
    clear();
    changed();
  };
  form.addEventListener("change", apply);
  form.addEventListener("input", (event) => {
    if (event.target.type !== "search") return;
    clearTimeout(typing);
    typing = setTimeout(apply, 400);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    apply();
  });
  byId("older").addEventListener("click", () => older().then(changed, failed));
  byId("held").addEventListener("click", () => {
    if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
    waiting.forEach(render);
    byId("alerts").scrollIntoView({ block: "start" });
  });
  byId("pause").addEventListener("click", () => {
    paused = !isStill();
    reading = false;
    changed();
  });
}
