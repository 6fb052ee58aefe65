// The models: side by side, over time, what drifted, and which one serves.

import { byId, make, show, write } from "./dom.js";
import { get } from "./fetching.js";
import * as format from "./format.js";
import * as curves from "./curves.js";
import { confirming } from "./promoting.js";
import { run, showStreamTime } from "./shell.js";
import * as versions from "./versions.js";

const EVERY = 5_000; // milliseconds between two readings
const TRIED = { precision: "trial_average_precision_7d", loss: "trial_log_loss_7d" };

let chosen = null; // the model whose curves and versions are shown
let drawn = ""; // what of it was newest when it was drawn

async function ask() {
  const [stats, { data: models }, { data: promotions }] = await Promise.all([
    get("/v1/stats"), get("/v1/models", { limit: 50 }), get("/v1/promotions", { limit: 20 }),
  ]);
  showStreamTime(stats.stream_time);
  show("models-box", models.length > 0);
  show("nothing", models.length === 0);
  if (models.length === 0) {
    write("nothing", "Waiting for the first model version.");
    return;
  }
  const serving = models.find((model) => model.serving)?.name ?? stats.model ?? models[0].name;
  chosen ??= serving;
  showSide(models);
  showPromotions(promotions);
  showWhich(models);
  await showCurves(models);
}

async function showCurves(models) {
  const name = chosen; // another may be chosen while this one is read
  const newest = JSON.stringify([name, models.map((model) => [model.latest?.version, Object.values(model.metrics).map((point) => point.at)])]);
  if (newest === drawn) return;
  const tried = models.filter((model) => TRIED.precision in model.metrics);
  const names = [...new Set([name, ...tried.map((model) => model.name)])];
  const records = await Promise.all(names.map((one) => get(`/v1/models/${encodeURIComponent(one)}`, { limit: 8, points: 400 })));
  const series = new Map(records.map((record) => [record.name, record.metrics]));
  curves.show(series.get(name), new Map(tried.map((model) => [model.name, series.get(model.name)])));
  versions.begin(name, records[0].versions);
  drawn = newest;
}

function showSide(models) {
  const rank = (model) => model.metrics[TRIED.precision]?.value ?? -1;
  const text = JSON.stringify(models);
  if (byId("side").dataset.shown === text) return; // a button that has the focus keeps it
  byId("side").dataset.shown = text;
  byId("side").replaceChildren(...[...models].sort((one, other) => rank(other) - rank(one)).map(row));
}

function row(model) {
  const figure = (metric) => make("td", { class: "number" }, metric in model.metrics ? format.score(model.metrics[metric].value) : "–");
  const cells = [
    make("th", { scope: "row" }, model.name),
    figure(TRIED.precision),
    figure(TRIED.loss),
    make("td", { class: "number" }, model.latest === null ? "–" : format.count(model.latest.examples)),
    make("td", {}, model.latest === null ? "–" : format.moment(new Date(model.latest.stream_time))),
    make("td", {}, make("span", { class: "mark", "data-mark": model.serving ? "serves" : "" }, role(model))),
  ];
  const change = make("td", { class: "number" });
  if (model.servable && !model.serving) {
    const button = make("button", { type: "button", class: "button small" }, "Promote …");
    button.setAttribute("aria-label", `Promote ${model.name}`);
    button.addEventListener("click", () => promote(model.name));
    change.append(button);
  }
  return make("tr", { "data-model": model.name }, ...cells, change);
}

function role(model) {
  if (model.serving) return "serves";
  const { suspended, [TRIED.precision]: point } = model.metrics;
  if (suspended !== undefined && (point === undefined || point.at <= suspended.at)) return "suspended";
  if (model.running === false) return "does not run";
  return model.servable === false ? "learns; cannot serve" : "learns";
}

const promote = confirming("promote", askAgain);
const rollback = confirming("rollback", askAgain);

function showPromotions(promotions) {
  const undone = new Set(promotions.map((one) => one.undoes));
  const stands = promotions.find((one) => one.undoes === null && !undone.has(one.promotion_id));
  byId("rollback").disabled = stands === undefined;
  byId("rollback").onclick = () => rollback(stands.before, stands.model);
  show("history-empty", promotions.length === 0);
  byId("history").replaceChildren(...promotions.map((one) => make("li", {},
    make("p", { class: "by" }, make("b", {}, one.automatic ? "automatic" : one.actor), " ", make("time", { class: "quiet", dateTime: one.at }, format.moment(new Date(one.at)))),
    make("p", {}, one.undoes === null ? `Promoted ${one.model}, in place of ${one.before}` : `Took ${one.before} back; ${one.model} serves again`,
      ...(one.reason === "" ? [] : [make("span", { class: "quiet" }, `: ${one.reason}`)])))));
}

function showWhich(models) {
  const names = models.map((model) => model.name);
  if (byId("which").dataset.shown !== names.join("\n")) {
    byId("which").dataset.shown = names.join("\n");
    byId("which").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  }
  byId("which").value = chosen;
}

byId("which").addEventListener("change", () => {
  chosen = byId("which").value;
  askNow();
});
const askNow = run(ask, () => EVERY);

function askAgain() {
  askNow();
}
