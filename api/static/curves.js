// A model over event time: its quality as it was served, all models in trials, and alarms.

import { byId, make, show as reveal, write } from "./dom.js";
import * as format from "./format.js";
import { lines } from "./lines.js";

const DRIFT = "drift_";
const TRIED = "trial_average_precision_7d";
const SIGNALS = { log_loss: "the model errs more", fraud_share: "another share of frauds", score_q50: "scores in general", score_q95: "high scores" };

const precision = lines(byId("precision-plot"), { label: "Average precision over time.", most: 1 });
const loss = lines(byId("loss-plot"), { label: "Log loss over time." });
const trial = lines(byId("trial-plot"), { label: "Models in trials over time.", most: 1 });
const drift = lines(byId("drift-plot"), { label: "Log loss by day, with alarms.", most: Infinity });

// `metrics` of the chosen model, and of each model in trials by its name.
export function show(metrics, tried) {
  const alarms = Object.entries(metrics).filter(([metric]) => metric.startsWith(DRIFT))
    .flatMap(([metric, points]) => points.map((point) => ({ at: Date.parse(point.at), value: point.value, signal: named(metric) })))
    .sort((one, other) => other.at - one.at);
  draw("precision", precision, [
    ["one", "last 7 days", metrics.average_precision_7d],
    ["two", "since the start", metrics.average_precision],
  ], "Labels come days after their payments; the first value follows the first known fraud.");
  draw("loss", loss, [["one", "last 7 days", metrics.log_loss_7d]], "Nothing was measured yet.");
  const many = ["one", "two", "three", "four", "five", "six", "seven", "eight"];
  draw("trial", trial, [...tried].slice(0, many.length).map(([name, of], n) => [many[n], name, of[TRIED]]), "No challengers run, so there is nothing to compare.");
  draw("drift", drift, [["one", "log loss of a day", metrics.log_loss_1d]], "", alarms.map((alarm) => ({ at: alarm.at, text: `alarm: ${alarm.signal}` })));
  byId("drift").replaceChildren(...alarms.slice(0, 8).map((alarm) =>
    make("div", {}, make("dt", {}, alarm.signal), make("dd", {}, `${format.moment(alarm.at)} · ${format.score(alarm.value)}`))));
  reveal("drift-empty", alarms.length === 0);
}

function named(metric) {
  const signal = metric.slice(DRIFT.length);
  if (signal.startsWith("psi_")) return `payments differ: ${signal.slice(4).replaceAll("_", " ")}`;
  return SIGNALS[signal] ?? signal.replaceAll("_", " ");
}

function draw(id, chart, series, empty, marks = []) {
  const full = series.filter(([, , points]) => points !== undefined && points.length > 0);
  reveal(`${id}-plot`, full.length > 0);
  if (full.length > 0) {
    chart.show(full.map(([key, name, points]) => ({
      series: key, name, points: points.map((point) => ({ ...point, at: Date.parse(point.at) })),
    })), marks);
  }
  if (id === "drift") return;
  reveal(`${id}-empty`, full.length === 0);
  if (full.length === 0) write(`${id}-empty`, empty);
}
