// What all charts are: a picture drawn to the width there is, read by pointer or arrow keys, with a
// legend that names the colours and a table of the same values behind it.

import { drawn, make } from "./dom.js";
import { moments } from "./scales.js";

const MARGIN = { top: 10, right: 12, bottom: 24, left: 46 };
const MOST_ROWS = 400; // of the table; a chart of more values tells its newest ones

// A chart in `place`; its `show` draws `next`:
//   label    what it is, in a sentence
//   draw     called with {svg, width, left, right, top, bottom} to draw into; gives the steps that
//            can be read: [{x, y?, text, dots?: [[x, y, series]]}], from left to right
//   legend   [{series, name, value?}], or none
//   head, rows   the table behind
//   note     what is written below while nothing is read
export function plot(place, height = 190) {
  const legend = make("ul", { class: "legend" });
  const chart = make("div", { class: "chart", tabIndex: 0, role: "img" });
  const reading = make("p", { class: "reading" });
  const table = make("table", { class: "grid" });
  const behind = make("details", { class: "behind" }, make("summary", {}, "As a table"),
    make("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": "The chart as a table" }, table));
  place.replaceChildren(legend, chart, reading, behind);
  chart.style.minHeight = `${height}px`;

  let now = null;
  let steps = [];
  let marker = null;
  let chosen = null; // index into `steps` while a pointer or a key reads the chart

  function render() {
    const width = Math.max(chart.clientWidth, 220);
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
    const { top, left } = MARGIN;
    steps = now.draw({ svg, width, left, top, right: width - MARGIN.right, bottom: height - MARGIN.bottom });
    marker = drawn("g", { class: "marker" });
    svg.append(marker);
    chart.replaceChildren(svg);
    if (chosen !== null && chosen >= steps.length) chosen = null;
    read();
  }

  function read() {
    marker.replaceChildren();
    const step = steps[chosen];
    const text = step?.text ?? now.note ?? "";
    if (reading.textContent !== text) reading.textContent = text;
    chart.setAttribute("aria-label", step === undefined ? `${now.label} Arrow keys read its values.` : step.text);
    if (step === undefined) return;
    marker.append(drawn("line", { x1: step.x, x2: step.x, y1: MARGIN.top, y2: height - MARGIN.bottom, class: "cross" }));
    for (const [x, y, series] of step.dots ?? []) {
      const dot = drawn("circle", { cx: x, cy: y, r: 4.5, class: "dot" });
      dot.dataset.series = series;
      marker.append(dot);
    }
  }

  function choose(index) {
    if (now === null || steps.length === 0) return;
    chosen = index === null ? null : Math.min(Math.max(index, 0), steps.length - 1);
    read();
  }

  function nearest(x, y) {
    let best = 0;
    let least = Infinity;
    steps.forEach((step, index) => {
      const off = Math.hypot(step.x - x, step.y === undefined ? 0 : (step.y - y) / 2);
      if (off < least) [best, least] = [index, off];
    });
    return best;
  }

  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    choose(nearest(event.clientX - box.left, event.clientY - box.top));
  });
  chart.addEventListener("pointerleave", () => choose(null));
  chart.addEventListener("blur", () => {
    reading.removeAttribute("aria-live");
    choose(null);
  });
  chart.addEventListener("keydown", (event) => {
    const from = chosen ?? steps.length;
    const moves = { ArrowLeft: from - 1, ArrowRight: chosen === null ? 0 : from + 1, Home: 0, End: steps.length - 1, Escape: null };
    if (!(event.key in moves) || (event.key === "Escape" && chosen === null)) return;
    event.preventDefault();
    event.stopPropagation();
    reading.setAttribute("aria-live", "polite"); // who steers by keys may be listening
    choose(moves[event.key]);
  });
  new ResizeObserver(() => {
    if (now !== null && chart.clientWidth > 0) render();
  }).observe(chart);
  behind.addEventListener("toggle", () => fillTable());

  function fillTable() {
    if (!behind.open || now === null) return;
    table.replaceChildren(
      make("thead", {}, make("tr", {}, ...now.head.map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, ...now.rows().slice(-MOST_ROWS).map((row) => make("tr", {}, ...row.map((text) => make("td", {}, text))))),
    );
  }

  return {
    show(next) {
      now = next;
      legend.replaceChildren(...(next.legend ?? []).map(({ series, name, value }) =>
        make("li", { "data-series": series }, name, ...(value === undefined ? [] : [" ", make("b", {}, value)]))));
      render();
      fillTable();
    },
  };
}

// The lines and texts of a vertical axis: `ticks` are values, `text` writes them.
export function axis({ svg, left, right }, scale, ticks, text) {
  for (const value of ticks) {
    const y = scale(value);
    svg.append(drawn("line", { x1: left, x2: right, y1: y, y2: y, class: value === ticks[0] ? "base" : "grid" }));
    label(svg, left - 6, y + 4, text(value), "end");
  }
}

// The moments of a time axis; those at an end are kept inside.
export function timeAxis({ svg, left, right, bottom }, scale) {
  for (const [at, text] of moments(scale.low, scale.high, right - left)) {
    const x = scale(at);
    svg.append(drawn("line", { x1: x, x2: x, y1: bottom, y2: bottom + 4, class: "base" }));
    label(svg, x, bottom + 18, text, x - left < 20 ? "start" : right - x < 20 ? "end" : "middle");
  }
}

export function label(svg, x, y, text, anchor) {
  const element = drawn("text", { x, y, "text-anchor": anchor });
  element.textContent = text;
  svg.append(element);
}
