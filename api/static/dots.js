// A card's payments: when and how much, the decision by colour and shape, one of them marked.

import { drawn } from "./dom.js";
import * as format from "./format.js";
import { axis, plot, timeAxis } from "./plot.js";
import { linear, ticks } from "./scales.js";

// Circle, triangle, square: told apart without colours, too.
const SHAPES = {
  approve: (x, y) => drawn("circle", { cx: x, cy: y, r: 3.5 }),
  review: (x, y) => drawn("path", { d: `M${x} ${y - 5.5}l5.5 9.5h-11z` }),
  decline: (x, y) => drawn("rect", { x: x - 4.5, y: y - 4.5, width: 9, height: 9 }),
};
const NAMES = { approve: "approved", review: "reviewed", decline: "declined" };

// `payments` are decisions of one currency, oldest first; `marked` is a transaction's id.
export function dots(place) {
  const chart = plot(place, 220);
  return {
    show(payments, marked) {
      const kinds = Object.keys(SHAPES).map((kind) => [kind, payments.filter((one) => one.decision === kind).length]);
      chart.show({
        label: `The card’s payments over time: ${kinds.map(([kind, n]) => `${n} ${NAMES[kind]}`).join(", ")}.`,
        draw: (area) => draw(area, payments, marked),
        legend: kinds.filter(([, n]) => n > 0).map(([kind, n]) => ({ series: kind, name: NAMES[kind], value: format.count(n) })),
        note: `${format.plural(payments.length, "payment", "payments")}; the ring is this one`,
        head: ["Time, UTC", "Amount", "Decision", "Score", "Terminal", ""],
        rows: () => payments.map((one) => [
          format.moment(new Date(one.event_time)), money(one), NAMES[one.decision], format.score(one.score), one.terminal_id,
          one.transaction_id === marked ? "this payment" : "",
        ]),
      });
    },
  };
}

const money = (one) => format.money(one.amount, one.amount_minor, one.currency);

function draw(area, payments, marked) {
  const { svg, left, right, top, bottom } = area;
  const times = payments.map((one) => Date.parse(one.event_time));
  const values = payments.map((one) => Number(one.amount ?? one.amount_minor));
  const steps = ticks(Math.max(...values), 4);
  const y = linear(0, steps.at(-1), bottom, top + 4);
  const x = linear(times[0], times.at(-1), times.length < 2 ? (left + right) / 2 : left + 8, right - 8);
  axis(area, y, steps, (value) => format.tinyCount(value));
  timeAxis(area, x);
  const read = payments.map((one, n) => {
    const at = { x: x(times[n]), y: y(values[n]) };
    const shape = SHAPES[one.decision](at.x, at.y);
    shape.setAttribute("class", "shape");
    shape.dataset.series = one.decision;
    svg.append(shape);
    const here = one.transaction_id === marked;
    if (here) {
      svg.append(drawn("circle", { cx: at.x, cy: at.y, r: 10, class: "ring" }));
      svg.append(drawn("line", { x1: at.x, x2: at.x, y1: Math.min(at.y + 10, bottom), y2: bottom, class: "ring" }));
    }
    return {
      ...at,
      text: `${here ? "This payment, " : ""}${format.moment(times[n])} UTC: ${money(one)} at ${one.terminal_id}, ${NAMES[one.decision]}, score ${format.score(one.score)}`,
    };
  });
  return read;
}
