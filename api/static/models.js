// The models side by side, and what drifted.

import { byId, make, show } from "./dom.js";
import * as format from "./format.js";

const TRIED = "trial_average_precision_7d";
const DRIFT = "drift_";

export function draw(found) {
  const tried = found.filter((model) => model.running !== false && (TRIED in model.metrics || model.metrics.suspended));
  tried.sort((one, other) => value(other) - value(one));
  fill("models", tried.map((model) => [
    model.serving ? `${model.name}, serves` : model.name,
    suspended(model) ? "suspended" : format.score(value(model)),
  ]));
  show("models-panel", tried.length > 1);

  const alarms = found.flatMap((model) => Object.entries(model.metrics)
    .filter(([metric]) => metric.startsWith(DRIFT))
    .map(([metric, point]) => [metric.slice(DRIFT.length).replaceAll("_", " "), point]));
  alarms.sort(([, one], [, other]) => other.at.localeCompare(one.at));
  fill("drift", alarms.map(([signal, point]) => [signal, format.moment(new Date(point.at))]));
  show("drift-panel", alarms.length > 0);
}

function value(model) {
  return model.metrics[TRIED]?.value ?? -1;
}

function suspended(model) {
  const { suspended: since, [TRIED]: point } = model.metrics;
  return since !== undefined && (point === undefined || point.at <= since.at);
}

function fill(id, rows) {
  byId(id).replaceChildren(...rows.map(([name, text]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, text))));
}
