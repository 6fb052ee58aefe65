// Work on one alert: each change names the version that was seen, so nobody's is overwritten.

import { byId } from "./dom.js";
import { get, Refused, send } from "./fetching.js";
import * as format from "./format.js";
import { me, myName } from "./shell.js";
import { tell } from "./told.js";

const HOUR = 3_600_000; // milliseconds
const FIELDS = ["status", "outcome", "assignee", "snoozed_until"];
const NAMES = { status: "status", outcome: "outcome", assignee: "assigned to", snoozed_until: "snoozed until" };

const MOST_WAITING = 8; // changes that wait for the one before; more keys than that are not meant

const ours = new Map(); // by alert id: the alert as our newest change left it, and what undoes that
let waiting = 0;
let last = Promise.resolve();

// `chosen` gives the alert that is worked on, or null; `changed` gets it as it is afterwards and as it
// was before our change, null where that is not our doing. The news of it may have come before.
export function actions(chosen, changed) {
  const doing = (alert, changes, done) => doingSo(alert, () => [changes, done]);
  const doingSo = (alert, plan) => inTurn(() => {
    const seen = newest(alert);
    return change(seen, ...plan(seen), changed);
  });
  const close = (outcome) => on((alert) => doing(alert, { status: "closed", outcome }, `Closed as ${outcome}`));
  const on = (act) => () => {
    const alert = chosen();
    if (alert === null) tell("Choose an alert first, with j and k.");
    else act(alert);
  };
  return {
    assign: on(async (alert) => {
      const name = await myName();
      if (name === null) return;
      await doingSo(alert, (seen) => (seen.assignee === name
        ? [{ assignee: null }, "Assigned to nobody"]
        : [{ assignee: name }, `Assigned to ${name}`]));
    }),
    investigating: on((alert) => doing(alert, { status: "investigating" }, "Investigating")),
    fraud: close("fraud"),
    genuine: close("genuine"),
    unclear: close("unclear"),
    snooze: on(async (alert) => {
      const until = await askUntil();
      if (until === undefined) return;
      await doing(alert, { snoozed_until: until }, until === null ? "Not snoozed any more" : `Snoozed until ${format.moment(new Date(until))} UTC`);
    }),
    help: () => byId("help").showModal(),
  };
}

// One after the other: who types fast means the alert as the key before left it.
function inTurn(act) {
  if (waiting >= MOST_WAITING) return last;
  waiting += 1;
  last = last.then(act).finally(() => {
    waiting -= 1;
  });
  return last;
}

function newest(alert) {
  const mine = ours.get(alert.alert_id)?.now;
  return mine !== undefined && mine.version > alert.version ? mine : alert;
}

async function change(alert, changes, done, changed) {
  try {
    const now = await send("PATCH", `/v1/alerts/${alert.alert_id}`, changes, { "If-Match": `"${alert.version}"` });
    changed(now, alert);
    const same = now.version === alert.version;
    if (!same) ours.set(now.alert_id, { now, undo: before(alert) });
    const text = same ? "It was like that already." : `${done}: ${named(now)}.`;
    const mine = ours.get(now.alert_id);
    if (mine?.now.version === now.version) tell(text, "Undo", () => inTurn(() => change(newest(now), mine.undo, "Taken back", changed)));
    else tell(text);
  } catch (error) {
    const clashed = error instanceof Refused && error.status === 412;
    await (clashed ? clash(alert, changes, done, changed) : Promise.reject(error))
      .catch((why) => tell(`Not done: ${why.message}`));
  }
}

// What an alert was, as changes that make it so again; a snooze that is over cannot be made.
function before(alert) {
  const was = { status: alert.status, assignee: alert.assignee };
  if (alert.status === "closed") was.outcome = alert.outcome;
  if (alert.snoozed_until === null || Date.parse(alert.snoozed_until) > Date.now()) was.snoozed_until = alert.snoozed_until;
  return was;
}

// Somebody else was quicker: shows what they changed; whether ours is made all the same is asked.
async function clash(seen, changes, done, changed) {
  const now = await get(`/v1/alerts/${seen.alert_id}`);
  changed(now, null);
  const theirs = FIELDS.filter((field) => seen[field] !== now[field])
    .map((field) => `${NAMES[field]} ${shown(field, seen[field])} → ${shown(field, now[field])}`);
  const text = theirs.length > 0 ? theirs.join(", ") : "it was changed and changed back";
  tell(`Another analyst was quicker: ${text}. Yours was not made: ${named(now)}.`, "Make mine all the same", () => inTurn(() => change(newest(now), changes, done, changed)), true);
}

function shown(field, value) {
  if (value === null) return field === "assignee" ? "nobody" : "none";
  return field === "snoozed_until" ? `${format.moment(new Date(value))} UTC` : value;
}

function named(alert) {
  return `${format.money(alert.amount, alert.amount_minor, alert.currency)}, card ${alert.card_token}`;
}

// A time, null for none, or undefined when nothing was chosen.
function askUntil() {
  const dialog = byId("snooze");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(until(dialog.returnValue)), { once: true });
  });
}

function until(choice) {
  const tomorrow = new Date();
  tomorrow.setDate(tomorrow.getDate() + 1);
  tomorrow.setHours(9, 0, 0, 0); // of the analyst's own day
  const choices = {
    0: null,
    1: new Date(Date.now() + HOUR),
    2: new Date(Date.now() + 4 * HOUR),
    3: tomorrow,
    4: new Date(Date.now() + 7 * 24 * HOUR),
  };
  const found = choices[choice === "" ? "none" : choice];
  return found instanceof Date ? found.toISOString() : found;
}

// The buttons do what the keys do.
export function listen(all) {
  byId("work").addEventListener("click", (event) => {
    const button = event.target.closest("[data-work]");
    if (button !== null) all[button.dataset.work]?.();
  });
  byId("snooze").addEventListener("keydown", (event) => {
    if (/^[0-4]$/.test(event.key)) byId("snooze").close(event.key);
  });
}

// Buttons say what they would do to this alert.
export function showFor(alert) {
  for (const button of byId("work").querySelectorAll("[data-work]")) {
    const needs = !["down", "up", "search", "help"].includes(button.dataset.work);
    button.disabled = needs && alert === null;
    const on = alert !== null && (button.dataset.work === alert.status || button.dataset.work === alert.outcome);
    if (["investigating", "fraud", "genuine", "unclear"].includes(button.dataset.work)) button.setAttribute("aria-pressed", String(on));
  }
  const assign = byId("work").querySelector("[data-work=assign]");
  const mine = alert !== null && alert.assignee !== null && alert.assignee === me();
  const text = mine ? "Give it up " : "Assign to me ";
  if (assign.firstChild.data !== text) assign.firstChild.data = text;
}
