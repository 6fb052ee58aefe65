// The stream: how much, how fast, what was decided, and what could not be taken.

import { bars } from "./bars.js";
import * as dead from "./dead.js";
import { byId, make, write } from "./dom.js";
import { get } from "./fetching.js";
import * as format from "./format.js";
import { lagOf } from "./lag.js";
import { run, showStreamTime, total } from "./shell.js";

const EVERY = 5_000; // milliseconds between two readings
const LENGTHS = { minute: 60_000, hour: 3_600_000, day: 86_400_000 }; // milliseconds
const COUNTS = { minute: 180, hour: 72, day: 60 }; // buckets that are shown
const SLOWEST = 300; // seconds: the API tells no longer ones apart

const decided = bars(byId("decided-plot"), { label: "Payments over time." });
const flagged = bars(byId("flagged-plot"), { label: "Payments that were not approved, over time." });
const scores = bars(byId("score-plot"), { label: "Payments by score.", byPowers: true, first: "Score" });

async function ask() {
  const [stats, lag] = await Promise.all([get("/v1/stats"), lagOf(), dead.refresh()]);
  showStreamTime(stats.stream_time);
  showTotals(stats, lag);
  dead.showReasons(stats.dead_letters.by_reason);
  const step = byId("step").querySelector(":checked").value;
  const length = LENGTHS[step];
  const newest = stats.stream_time === null ? Date.now() : Date.parse(stats.stream_time);
  const until = (Math.floor(newest / length) + 1) * length;
  const since = until - COUNTS[step] * length;
  const found = await get("/v1/traffic", { step, since: new Date(since).toISOString(), until: new Date(until).toISOString() });
  draw(found, step, since);
}

function draw(found, step, since) {
  const length = LENGTHS[step];
  const values = { approve: zeros(step), review: zeros(step), decline: zeros(step) };
  for (const series of found.series) {
    series.buckets.forEach((bucket, n) => {
      values[series.decision][Math.round((Date.parse(bucket) - since) / length)] += series.decisions[n];
    });
  }
  const buckets = values.approve.map((_, n) => {
    const at = since + n * length;
    return { at, name: step === "day" ? format.date(at) : format.moment(at) };
  });
  const each = values.approve.map((value, n) => value + values.review[n] + values.decline[n]);
  write("decided-hint", `By ${step}, in the time of the payments.`);
  decided.show(buckets, [{ series: "approve", name: "Payments", values: each }]);
  flagged.show(buckets, [
    { series: "decline", name: "Declined", values: values.decline },
    { series: "review", name: "Reviewed", values: values.review },
  ]);
  scores.show(found.scores.map((bin) => ({ name: `${bin.low} to ${bin.high}`, short: String(bin.low) })),
    [{ series: "score", name: "Payments", values: found.scores.map((bin) => bin.decisions) }]);
  showRate(each, step);
  showLatency(found.latency);
}

const zeros = (step) => new Array(COUNTS[step]).fill(0);

function showTotals({ decisions, labels, transactions }, lag) {
  total("scored", decisions.total, decisions.approximate ? "≈ " : "");
  write("scored-note", `${format.shortCount(transactions.last_day)} in the last day`);
  total("flagged", decisions.review + decisions.decline);
  write("flagged-note", format.share(decisions.review + decisions.decline, decisions.total));
  total("labels", labels.total);
  write("labels-note", `${format.shortCount(labels.frauds)} fraud`);
  write("lag", lag === null ? "unknown" : format.shortCount(lag));
  write("lag-note", lag === null ? "this process reads no Kafka" : "messages not yet decided");
}

// The last bucket is not over: the rate is that of the ones before.
function showRate(each, step) {
  const over = each.slice(0, -1);
  const sum = over.reduce((all, value) => all + value, 0);
  const perHour = sum / ((over.length * LENGTHS[step]) / LENGTHS.hour);
  write("rate", perHour >= 3600 ? `${format.shortCount(Math.round(perHour / 3600))}/s` : `${format.shortCount(Math.round(perHour))}/h`);
  write("rate-note", `on average of ${over.length} ${step}s`);
}

function showLatency(latency) {
  const told = (value) => (value >= SLOWEST ? "over 5 min" : format.seconds(value));
  write("latency", latency === null ? "–" : told(latency.p50));
  write("latency-note", latency === null ? "" : "half of the payments");
  write("latency-hint", latency !== null && latency.p50 >= SLOWEST
    ? "From the payment to its decision. These payments were older than five minutes when they came, as history and simulated ones are."
    : "From the payment to its decision.");
  const rows = latency === null ? [] : [["Half within", latency.p50], ["95 % within", latency.p95], ["99 % within", latency.p99]];
  byId("latencies").replaceChildren(...rows.map(([name, value]) => {
    const filled = make("i", {});
    // On a scale of powers of ten from 1 ms to 5 min.
    const share = Math.min(Math.max(Math.log10(Math.max(value, 0.001) * 1000) / Math.log10(SLOWEST * 1000), 0.02), 1);
    filled.style.width = `${(share * 100).toFixed(1)}%`;
    return make("div", {}, make("dt", {}, name), make("dd", {}, make("span", { class: "gauge", "aria-hidden": "true" }, filled), make("b", {}, told(value))));
  }));
}

byId("step").addEventListener("change", () => askNow());
dead.listen(() => askNow());
const askNow = run(ask, () => EVERY);
