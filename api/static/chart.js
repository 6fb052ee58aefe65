// Average precision over event time: two lines, drawn to the width there is.

import { byId, drawn, write } from "./dom.js";
import * as format from "./format.js";

const HEIGHT = 190;
const MARGIN = { top: 10, right: 12, bottom: 24, left: 34 };
const SERIES = [
  { metric: "average_precision", value: "value-all" },
  { metric: "average_precision_7d", value: "value-7d" },
];
const DAY = 86_400_000;

let lines = [];
let marker = null;
let chosen = null; // index into `times` while a pointer or a key reads the chart
let times = [];
let scales = null;

// `metrics` is that of /v1/models/{name}; true when there was something to draw.
export function draw(metrics) {
  lines = SERIES.map((series) => ({
    ...series,
    points: (metrics[series.metric] ?? []).map((point) => ({ ...point, at: Date.parse(point.at) })),
  }));
  times = [...new Set(lines.flatMap((line) => line.points.map((point) => point.at)))].sort((a, b) => a - b);
  if (chosen !== null && chosen >= times.length) chosen = null;
  if (times.length > 0) render();
  return times.length > 0;
}

function render() {
  const chart = byId("chart");
  const width = Math.max(chart.clientWidth, 220);
  scales = scale(width);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, "aria-hidden": "true" });
  drawAxes(svg, width);
  for (const line of lines) {
    if (line.points.length === 0) continue;
    const group = drawn("g", { "data-series": line.metric });
    const path = line.points.map((point) => `${scales.x(point.at)},${scales.y(point.value)}`);
    group.append(drawn("polyline", { points: path.join(" "), class: "line" }));
    const last = line.points.at(-1);
    group.append(drawn("circle", { cx: scales.x(last.at), cy: scales.y(last.value), r: 3, class: "dot" }));
    svg.append(group);
  }
  marker = drawn("g", { class: "marker" });
  svg.append(marker);
  chart.replaceChildren(svg);
  read();
}

function scale(width) {
  const values = lines.flatMap((line) => line.points.map((point) => point.value));
  const step = Math.max(...values) > 0.5 ? 0.25 : 0.1;
  const top = Math.min(1, Math.max(step, Math.ceil(Math.max(...values) / step) * step));
  const first = times[0];
  const span = Math.max(times.at(-1) - first, 1);
  const inner = { width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
  return {
    step, top, first, span,
    x: (at) => +(MARGIN.left + (times.length < 2 ? inner.width / 2 : ((at - first) / span) * inner.width)).toFixed(1),
    y: (value) => +(MARGIN.top + (1 - value / top) * inner.height).toFixed(1),
    at: (x) => first + ((x - MARGIN.left) / inner.width) * span,
  };
}

function drawAxes(svg, width) {
  for (let value = 0; value <= scales.top + 1e-9; value += scales.step) {
    const y = scales.y(value);
    svg.append(drawn("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y, class: value === 0 ? "base" : "grid" }));
    label(svg, MARGIN.left - 6, y + 4, value.toFixed(2).replace(/0$/, ""), "end");
  }
  const several = times.length > 1;
  const parts = !several ? 0 : width > 320 ? 3 : 2;
  for (let part = 0; part <= parts; part += 1) {
    const at = several ? scales.first + (scales.span * part) / parts : scales.first;
    const anchor = !several ? "middle" : part === 0 ? "start" : part === parts ? "end" : "middle";
    const text = scales.span > 2 * DAY ? format.shortDate(at) : `${format.shortDate(at)} ${format.hour(at)}`;
    label(svg, scales.x(at), HEIGHT - 6, text, anchor);
  }
}

function label(svg, x, y, text, anchor) {
  const element = drawn("text", { x, y, "text-anchor": anchor });
  element.textContent = text;
  svg.append(element);
}

// The newest point of a line that is not after the moment.
function upTo(points, at) {
  let found = null;
  for (const point of points) {
    if (point.at > at) break;
    found = point;
  }
  return found;
}

// Writes the values of the chosen moment, or the newest ones.
function read() {
  const at = chosen === null ? times.at(-1) : times[chosen];
  marker.replaceChildren();
  let examples = 0;
  const said = [];
  for (const line of lines) {
    const point = upTo(line.points, at);
    write(line.value, point === null ? "–" : format.score(point.value));
    if (point === null) continue;
    examples = Math.max(examples, point.examples);
    said.push(`${line.metric === "average_precision" ? "since the start" : "last 7 days"} ${format.score(point.value)}`);
    if (chosen !== null) {
      const dot = drawn("circle", { cx: scales.x(point.at), cy: scales.y(point.value), r: 4, class: "dot", "data-series": line.metric });
      marker.append(dot);
    }
  }
  if (chosen !== null) {
    const x = scales.x(at);
    marker.prepend(drawn("line", { x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom, class: "cross" }));
  }
  write("reading", `${format.moment(at)} UTC · ${format.plural(examples, "labelled payment", "labelled payments")}`);
  byId("chart").setAttribute("aria-label", `Average precision at ${format.moment(at)} UTC: ${said.join(", ")}. Arrow keys read other moments.`);
}

function choose(index) {
  chosen = index === null ? null : Math.min(Math.max(index, 0), times.length - 1);
  if (marker !== null) read();
}

function nearest(at) {
  let best = 0;
  times.forEach((time, index) => {
    if (Math.abs(time - at) < Math.abs(times[best] - at)) best = index;
  });
  return best;
}

export function listen() {
  const chart = byId("chart");
  chart.addEventListener("pointermove", (event) => {
    if (times.length > 0) choose(nearest(scales.at(event.clientX - chart.getBoundingClientRect().left)));
  });
  chart.addEventListener("pointerleave", () => choose(null));
  chart.addEventListener("blur", () => choose(null));
  chart.addEventListener("keydown", (event) => {
    const from = chosen ?? times.length - 1;
    const moves = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: times.length - 1, Escape: null };
    if (!(event.key in moves)) return;
    event.preventDefault();
    choose(moves[event.key]);
  });
  new ResizeObserver(() => {
    if (times.length > 0 && !chart.hidden) render();
  }).observe(chart);
}
