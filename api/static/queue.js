// The list of alerts: the newest page, kept up to date, or older pages while somebody reads; and
// the cursor, the row that keys and buttons work on. What is new never moves the row under it.

import { byId, show, write } from "./dom.js";
import { get } from "./fetching.js";
import * as filters from "./filters.js";
import * as format from "./format.js";
import { fill, rowOf } from "./row.js";
import { tab } from "./storage.js";
import { showFor } from "./work.js";

const PAGE = 50;
const MOST = 1_000; // rows; older ones are reached by narrowing the filters
const FRESH = 6_000; // milliseconds that a new row stays marked
const SAY_EVERY = 10_000; // milliseconds between two announcements
const CURSOR = "tidegate-cursor";

const alerts = new Map(); // what is listed, by alert id
const rows = new Map(); // their rows
const touched = new Set(); // changed by us: they stay in place though the filters may leave them out
let next = null;
let reading = false; // older pages are shown: the list stands still
let paused = false;
let loaded = false;
let waiting = null; // a newer page, held back
let cursor = null; // an alert's id
let unsaid = 0;
let saidAt = 0;
let generation = 0; // counts filter changes: an answer to older filters is dropped

export const isStill = () => paused || reading;
export const isEmpty = () => loaded && rows.size === 0;
export const chosen = () => alerts.get(cursor) ?? null;

// A list that stands still is read once all the same: whoever pauses it wants to see it.
const isShown = () => isStill() && loaded;

export async function refresh() {
  if (isShown()) return;
  const now = generation;
  const page = await get("/v1/alerts", { ...filters.asked(), limit: PAGE });
  if (now !== generation || isShown()) return;
  page.data.forEach(update);
  const news = newOf(page.data).length;
  if (loaded && isHeld()) {
    hold(news, page);
    return;
  }
  render(page);
}

// Those of a page that are new to the list. What only moved up to the page's end, as others left the
// list, is not.
function newOf(page) {
  const known = page.findLastIndex((alert) => rows.has(alert.alert_id));
  return page.filter((alert, n) => !rows.has(alert.alert_id) && (known === -1 || n < known));
}

function hold(news, page) {
  waiting = news > 0 ? page : null;
  show("held", news > 0);
  if (news > 0) write("held", news >= PAGE ? `${PAGE}+ new alerts` : format.plural(news, "new alert", "new alerts"));
}

function isHeld() {
  return cursor !== null || byId("rows").contains(document.activeElement) || byId("table-box").getBoundingClientRect().top < -80;
}

// An alert as it is now, in its row if it has one; says whether it has.
export function update(alert) {
  const row = rows.get(alert.alert_id);
  const before = alerts.get(alert.alert_id);
  if (row === undefined || before.version > alert.version) return row !== undefined;
  alerts.set(alert.alert_id, alert);
  if (before.version !== alert.version) {
    const focused = row.contains(document.activeElement);
    fill(row, alert);
    if (focused) row.focus({ preventScroll: true });
  }
  if (alert.alert_id === cursor) showFor(alert);
  return true;
}

export function touch(alert) {
  touched.add(alert.alert_id);
  update(alert);
}

function render(page) {
  const body = byId("rows");
  const wanted = new Set(page.data.map((alert) => alert.alert_id));
  for (const id of [...rows.keys()]) {
    if (!wanted.has(id) && !touched.has(id)) remove(id);
  }
  const known = page.data.filter((alert) => rows.has(alert.alert_id)).length;
  const marks = loaded && known > 0; // where everything is new, nothing stands out
  const news = new Set(newOf(page.data));
  let place = body.firstElementChild;
  for (const alert of page.data) {
    while (place !== null && !wanted.has(place.dataset.alert)) place = place.nextElementSibling;
    const there = rows.get(alert.alert_id);
    if (there === undefined) {
      const row = add(alert, place);
      if (marks && news.has(alert)) {
        row.classList.add("fresh");
        setTimeout(() => row.classList.remove("fresh"), FRESH);
      }
    } else if (there === place) {
      place = place.nextElementSibling;
    } else {
      body.insertBefore(there, place);
    }
  }
  next = page.next;
  if (loaded) say(news.size);
  else choose(tab.read(CURSOR), false);
  loaded = true;
  waiting = null;
  show("held", false);
  show("table-box", rows.size > 0);
  show("older", next !== null);
}

function add(alert, place = null) {
  const row = rowOf(alert);
  byId("rows").insertBefore(row, place);
  rows.set(alert.alert_id, row);
  alerts.set(alert.alert_id, alert);
  return row;
}

function remove(id) {
  if (id === cursor) choose(null);
  rows.get(id).remove();
  rows.delete(id);
  alerts.delete(id);
}

// At most one announcement in ten seconds, or nobody could listen to anything else.
function say(news) {
  unsaid += news;
  if (unsaid === 0 || Date.now() - saidAt < SAY_EVERY) return;
  write("said", format.plural(unsaid, "new alert", "new alerts"));
  saidAt = Date.now();
  unsaid = 0;
}

export async function older() {
  const now = generation;
  const button = byId("older");
  button.disabled = true;
  try {
    const page = await get("/v1/alerts", { ...filters.asked(), limit: PAGE, after: next });
    if (now !== generation) return;
    reading = true;
    for (const alert of page.data) {
      if (!rows.has(alert.alert_id)) add(alert);
    }
    next = page.next;
    show("older", next !== null && rows.size < MOST);
    write("said", `${format.plural(page.data.length, "older alert", "older alerts")} shown`);
  } finally {
    button.disabled = false;
  }
}

function choose(id, focus = true) {
  rows.get(cursor)?.removeAttribute("aria-current");
  rows.get(cursor)?.setAttribute("tabindex", "-1");
  cursor = rows.has(id) ? id : null;
  const row = rows.get(cursor);
  if (row !== undefined) {
    row.setAttribute("aria-current", "true");
    row.tabIndex = 0;
    if (focus) row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
    tab.write(CURSOR, cursor);
  }
  showFor(chosen());
}

// The cursor by so many rows; at the end of the list older alerts come.
export async function move(by) {
  if (rows.size === 0) return;
  const row = rows.get(cursor);
  let to = by > 0 ? row?.nextElementSibling : row?.previousElementSibling;
  if (row === undefined) to = byId("rows").firstElementChild;
  if (to === null && by > 0 && next !== null && rows.size < MOST) {
    await older();
    to = row.nextElementSibling;
  }
  if (to != null) choose(to.dataset.alert);
}

export function leave() {
  tab.write(CURSOR, null);
  choose(null);
  if (byId("rows").contains(document.activeElement)) document.activeElement.blur();
}

export function showNews() {
  if (waiting === null) return;
  const page = waiting;
  touched.clear();
  render(page);
  byId("alerts").scrollIntoView({ block: "start" });
}

export function pause() {
  paused = !isStill();
  reading = false;
}

// Other filters were chosen: another list.
export function begin() {
  generation += 1;
  reading = false;
  loaded = false;
  next = null;
  touched.clear();
  [...rows.keys()].forEach(remove);
  for (const id of ["held", "table-box", "older"]) show(id, false);
}

export function listen(open) {
  byId("rows").addEventListener("click", (event) => {
    if (event.target.closest("a, button") === null) choose(event.target.closest("tr").dataset.alert);
  });
  byId("rows").addEventListener("dblclick", (event) => {
    if (event.target.closest("a, button") === null) open();
  });
  showFor(null);
}
