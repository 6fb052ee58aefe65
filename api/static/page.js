// The analyst's page: totals, the model's quality and the alerts, asked for every two seconds.

import * as alerts from "./alerts.js";
import * as chart from "./chart.js";
import { byId, make, show, write } from "./dom.js";
import { get, poll } from "./fetching.js";
import * as format from "./format.js";
import * as models from "./models.js";

const SERIES_EVERY = 4_000; // milliseconds between two readings of the model's series

let stats = null;
let measuredAt = null; // event time of the newest value that the chart shows
let readAt = 0;

async function ask() {
  const [found] = await Promise.all([get("/v1/stats"), alerts.refresh()]);
  stats = found;
  showTotals();
  showEmptyList();
  await showModel();
  show("trouble", false);
  showState();
}

function showState(state) {
  const now = state ?? (alerts.isStill() ? "paused" : "live");
  byId("state").dataset.state = now;
  write("state-text", { live: "Live", paused: "Paused", away: "Trying again" }[now]);
  const still = alerts.isStill();
  write("pause", still ? "Resume" : "Pause");
  byId("pause").setAttribute("aria-pressed", String(still));
}

function failed(error, delay = 0) {
  const then = delay > 0 ? ` Trying again in ${Math.round(delay / 1000)} s.` : "";
  write("trouble", `${error.message.replace(/\.$/, "")}.${then}`);
  show("trouble", true);
  showState("away");
}

function showTotals() {
  const { decisions, labels, dead_letters: dead, transactions, alerts: open } = stats;
  const about = decisions.approximate ? "≈ " : "";
  const time = byId("stream-time");
  if (stats.stream_time === null) {
    write("stream-time", "not begun");
  } else {
    const at = new Date(stats.stream_time);
    time.dateTime = stats.stream_time;
    write("stream-time", `${format.date(at)}, ${format.timeOfDay(at)} UTC`);
  }
  total("scored", decisions.total, about);
  write("scored-note", decisions.total > 0 ? `${format.shortCount(transactions.last_hour)} in last hour` : "");
  total("review", decisions.review);
  write("review-note", format.share(decisions.review, decisions.total));
  total("decline", decisions.decline);
  write("decline-note", format.share(decisions.decline, decisions.total));
  total("open", open.open);
  const work = open.investigating > 0 ? `${format.shortCount(open.investigating)} in work, ` : "";
  write("open-note", `${work}${format.shortCount(open.closed)} closed`);
  total("labels", labels.total);
  write("labels-note", labels.total > 0 ? `${format.shortCount(labels.frauds)} fraud` : "none yet");
  total("dead", dead.total);
  write("dead-note", dead.total > 0 ? "not taken" : "all taken");
  byId("dead-box").toggleAttribute("data-some", dead.total > 0);
  list("sources", labels.by_source);
  show("sources-panel", labels.total > 0);
  list("dead-reasons", dead.by_reason);
  show("reasons-panel", dead.total > 0);
}

function total(id, number, before = "") {
  write(id, before + format.shortCount(number));
  byId(id).title = before + format.count(number);
}

function list(id, numbers) {
  const given = Object.entries(numbers).sort((one, other) => other[1] - one[1]);
  const text = JSON.stringify(given);
  const place = byId(id);
  if (place.dataset.shown === text) return;
  place.dataset.shown = text;
  place.replaceChildren(...given.map(([name, number]) =>
    make("div", {}, make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, format.count(number)))));
}

function showEmptyList() {
  const place = byId("alerts-empty");
  place.hidden = !alerts.isEmpty();
  if (place.hidden) return;
  const { total } = stats.decisions;
  const text = alerts.isFiltered()
    ? "No alert matches these filters."
    : total === 0
      ? "Waiting for the first payment: nothing was scored yet."
      : `No alerts yet: ${format.plural(total, "payment was", "payments were")} scored and approved.`;
  if (place.dataset.shown === text) return;
  place.dataset.shown = text;
  place.replaceChildren(text);
  if (alerts.isFiltered()) {
    const button = make("button", { type: "button", class: "button" }, "Clear the filters");
    button.addEventListener("click", alerts.clearFilters);
    place.append(" ", button);
  }
}

async function showModel() {
  const newest = stats.average_precision ?? stats.average_precision_7d;
  const at = `${stats.model} ${newest?.at}`;
  if (stats.model === null) {
    emptyChart("Waiting for the first model version.");
    return;
  }
  if (at === measuredAt || Date.now() - readAt < SERIES_EVERY) return;
  models.draw((await get("/v1/models", { limit: 50 })).data);
  const model = await get(`/v1/models/${encodeURIComponent(stats.model)}`, { limit: 1, points: 400 });
  readAt = Date.now();
  const version = model.versions.data[0];
  show("model-panel", true);
  write("model-name", model.name);
  if (version !== undefined) {
    write("model-version", version.version.slice(0, 12));
    byId("model-version").title = version.version;
    write("model-examples", `${format.count(version.examples)} payments, ${format.count(version.frauds)} fraud`);
    write("model-time", format.moment(new Date(version.stream_time)));
  }
  show("chart", true); // it has a width to be drawn to only while it is shown
  if (chart.draw(model.metrics)) {
    measuredAt = at;
    for (const id of ["legend", "reading"]) show(id, true);
    show("chart-empty", false);
    return;
  }
  emptyChart(stats.labels.total === 0
    ? "Waiting for the first labels: they come days after their payments, in event time."
    : "Labels arrive. The first value follows when there is a fraud among the measured payments.");
}

function emptyChart(text) {
  for (const id of ["chart", "legend", "reading"]) show(id, false);
  write("chart-empty", text);
  show("chart-empty", true);
}

chart.listen();
// The filters of the address first, or the first list asked for would be the whole one.
alerts.listen(() => askNow(), failed);
const askNow = poll(ask, failed);
