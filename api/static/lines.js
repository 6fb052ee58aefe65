// Values over event time: a line for each series, and moments that something happened at.

import { drawn } from "./dom.js";
import * as format from "./format.js";
import { axis, plot, timeAxis } from "./plot.js";
import { linear, ticks } from "./scales.js";

// `series`: [{series, name, points: [{at, value, examples}]}] with `at` in milliseconds; `marks`:
// [{at, text}]. `most` bounds the axis where values have a bound.
export function lines(place, { label: what, most = Infinity, counted = "labelled payments" }) {
  const chart = plot(place);
  return {
    show(series, marks = []) {
      const full = series.filter((one) => one.points.length > 0);
      const times = [...new Set(full.flatMap((one) => one.points.map((point) => point.at)))].sort((a, b) => a - b);
      chart.show({
        label: `${what} ${full.map((one) => `${one.name}: ${format.score(one.points.at(-1).value)}`).join(", ")}.`,
        draw: (area) => draw(area, full, times, marks, most, counted),
        legend: full.map((one) => ({ series: one.series, name: one.name, value: format.score(one.points.at(-1).value) })),
        note: times.length > 0 ? `Up to ${format.moment(times.at(-1))} UTC` : "",
        head: ["Time, UTC", ...full.map((one) => one.name)],
        rows: () => times.map((at) => [format.moment(at), ...full.map((one) => valueAt(one.points, at))]),
      });
    },
  };
}

function draw(area, series, times, marks, most, counted) {
  const { svg, left, right, top, bottom } = area;
  const high = highest(series);
  const steps = ticks(Math.min(high, most), 4).filter((value) => value <= most);
  const y = linear(0, Math.max(steps.at(-1), Math.min(high, most)), bottom, top);
  const x = linear(times[0], times.at(-1), times.length < 2 ? (left + right) / 2 : left, right);
  const digits = Math.max(...steps.map((value) => (String(value).split(".")[1] ?? "").length));
  axis(area, y, steps, (value) => value.toFixed(Math.min(digits, 4)));
  timeAxis(area, x);
  for (const mark of marks) {
    if (mark.at < times[0] || mark.at > times.at(-1)) continue;
    svg.append(drawn("line", { x1: x(mark.at), x2: x(mark.at), y1: top, y2: bottom, class: "event" }));
  }
  for (const one of series) {
    const group = drawn("g", {});
    group.dataset.series = one.series;
    group.append(drawn("polyline", { points: one.points.map((point) => `${x(point.at)},${Math.max(y(point.value), 0)}`).join(" "), class: "line" }));
    const last = one.points.at(-1);
    group.append(drawn("circle", { cx: x(last.at), cy: y(last.value), r: 3, class: "dot" }));
    svg.append(group);
  }
  return times.map((at) => {
    const found = series.map((one) => [one, upTo(one.points, at)]).filter(([, point]) => point !== null);
    const examples = Math.max(...found.map(([, point]) => point.examples));
    const near = marks.filter((mark) => Math.abs(x(mark.at) - x(at)) < 3).map((mark) => mark.text);
    const values = found.map(([one, point]) => `${one.name} ${format.score(point.value)}`);
    return {
      x: x(at),
      text: `${format.moment(at)} UTC: ${[...values, `${format.count(examples)} ${counted}`, ...near].join(", ")}`,
      dots: found.map(([one, point]) => [x(point.at), Math.max(y(point.value), 0), one.series]),
    };
  });
}

// The highest value that is drawn whole. First values rest on few frauds and can be far off: what is
// far above nearly all others leaves the picture at the top, and is still read and in the table.
function highest(series) {
  const values = series.flatMap((one) => one.points.map((point) => point.value)).sort((a, b) => a - b);
  const most = values.at(-1);
  const usual = values[Math.floor((values.length - 1) * 0.95)] * 1.25;
  return Math.max(most > 2 * usual ? usual : most, 1e-6);
}

// The newest point that is not after the moment.
function upTo(points, at) {
  let low = 0;
  let high = points.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle].at <= at) low = middle + 1;
    else high = middle;
  }
  return low === 0 ? null : points[low - 1];
}

function valueAt(points, at) {
  const point = upTo(points, at);
  return point === null ? "–" : format.score(point.value);
}
