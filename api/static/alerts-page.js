// The list of alerts: totals, filters, and work by keys and buttons.

import { byId, make, show, write } from "./dom.js";
import * as events from "./events.js";
import { get } from "./fetching.js";
import * as filters from "./filters.js";
import * as format from "./format.js";
import * as keys from "./keys.js";
import * as queue from "./queue.js";
import { failed, recognised, run, showState, showStreamTime, total } from "./shell.js";
import * as work from "./work.js";

const USUALLY = 2_000; // milliseconds between two readings
const LIVE = 5_000; // the same while news come by themselves
const GATHER = 800; // milliseconds that news are gathered for before the list is asked for

let gathering = 0;
let askNow = () => {}; // before the first reading, what is wanted of it is noted alone

async function ask() {
  const [stats] = await Promise.all([get("/v1/stats"), queue.refresh()]);
  showTotals(stats);
  showEmptyList(stats);
  return showPause();
}

function showPause() {
  const still = queue.isStill();
  write("pause", still ? "Resume" : "Pause");
  byId("pause").setAttribute("aria-pressed", String(still));
  return still ? "paused" : "live";
}

function showTotals(stats) {
  const { decisions, labels, dead_letters: dead, transactions, alerts } = stats;
  showStreamTime(stats.stream_time);
  total("open", alerts.open);
  const doing = alerts.investigating > 0 ? `${format.shortCount(alerts.investigating)} in work, ` : "";
  write("open-note", `${doing}${format.shortCount(alerts.closed)} closed`);
  total("review", decisions.review);
  write("review-note", format.share(decisions.review, decisions.total));
  total("decline", decisions.decline);
  write("decline-note", format.share(decisions.decline, decisions.total));
  total("scored", decisions.total, decisions.approximate ? "≈ " : "");
  write("scored-note", decisions.total > 0 ? `${format.shortCount(transactions.last_hour)} in last hour` : "");
  total("labels", labels.total);
  write("labels-note", labels.total > 0 ? `${format.shortCount(labels.frauds)} fraud` : "none yet");
  total("dead", dead.total);
  write("dead-note", dead.total > 0 ? "not taken" : "all taken");
  byId("dead-box").toggleAttribute("data-some", dead.total > 0);
}

function showEmptyList({ decisions, alerts }) {
  const place = byId("alerts-empty");
  place.hidden = !queue.isEmpty();
  if (place.hidden) return;
  const all = alerts.open + alerts.investigating + alerts.closed;
  const text = filters.isFiltered()
    ? "No alert matches these filters."
    : decisions.total === 0
      ? "Waiting for the first payment: nothing was scored yet."
      : all === 0
        ? `No alerts yet: ${format.plural(decisions.total, "payment was", "payments were")} scored and approved.`
        : `Nothing is open. ${format.plural(all, "alert is", "alerts are")} in work, snoozed or closed.`;
  if (place.dataset.shown === text) return;
  place.dataset.shown = text;
  place.replaceChildren(text);
  if (filters.isFiltered()) {
    const button = make("button", { type: "button", class: "button" }, "Clear the filters");
    button.addEventListener("click", filters.clear);
    place.append(" ", button);
  }
}

function open() {
  const alert = queue.chosen();
  if (alert !== null) location.assign(`/alerts/${alert.alert_id}`);
}

function changed(alert, before) {
  queue.touch(alert);
  const closed = before !== null && before.status !== "closed" && alert.status === "closed";
  if (closed && queue.chosen()?.alert_id === alert.alert_id) queue.move(1).catch(failed);
}

const actions = {
  ...work.actions(queue.chosen, changed),
  down: () => queue.move(1).catch(failed),
  up: () => queue.move(-1).catch(failed),
  open,
  search: () => byId("filters").elements.card_token.focus(),
};

work.listen(actions);
keys.listen({
  j: actions.down, k: actions.up, o: open, Enter: open, a: actions.assign, i: actions.investigating,
  f: actions.fraud, g: actions.genuine, u: actions.unclear, s: actions.snooze, "/": actions.search,
  n: queue.showNews, "?": actions.help, Escape: queue.leave,
});
queue.listen(open);
byId("pause").addEventListener("click", () => {
  queue.pause();
  askNow();
});
await recognised; // or a list of mine would not know whose
// The filters of the address first, or the first list asked for would be the whole one.
filters.listen(() => {
  queue.begin();
  askNow();
});
byId("older").addEventListener("click", () => queue.older().then(() => showState(showPause()), failed));
byId("held").addEventListener("click", queue.showNews);
askNow = run(ask, () => (events.isLive() ? LIVE : USUALLY));
events.listen((alert) => {
  queue.update(alert);
  if (gathering !== 0) return;
  gathering = setTimeout(() => {
    gathering = 0;
    askNow();
  }, GATHER);
}, askNow);
