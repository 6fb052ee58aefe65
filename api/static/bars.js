// Counts in buckets, side by side: stacked by kind, or on a scale of powers of ten.

import { drawn } from "./dom.js";
import * as format from "./format.js";
import { axis, label, plot, timeAxis } from "./plot.js";
import { linear, powers, ticks } from "./scales.js";

// `buckets`: [{name, at?}] where `at` is a time in milliseconds (else the name is written below);
// `stacks`: [{series, name, values}], drawn from the ground up.
export function bars(place, { label: what, byPowers = false, first = "Time, UTC" }) {
  const chart = plot(place);
  return {
    show(buckets, stacks) {
      const sums = stacks.map((stack) => stack.values.reduce((sum, value) => sum + value, 0));
      chart.show({
        label: `${what} ${stacks.map((stack, n) => `${stack.name}: ${format.count(sums[n])}`).join(", ")}.`,
        draw: (area) => draw(area, buckets, stacks, byPowers),
        legend: stacks.length > 1 ? stacks.map((stack, n) => ({ series: stack.series, name: stack.name, value: format.count(sums[n]) })) : [],
        note: `${format.count(sums.reduce((all, sum) => all + sum, 0))} in all`,
        head: [first, ...stacks.map((stack) => stack.name)],
        rows: () => buckets.map((bucket, n) => [bucket.name, ...stacks.map((stack) => format.count(stack.values[n]))]),
      });
    },
  };
}

function draw(area, buckets, stacks, byPowers) {
  const { svg, left, right, top, bottom } = area;
  const totals = buckets.map((_, n) => stacks.reduce((sum, stack) => sum + stack.values[n], 0));
  const high = Math.max(...totals, 1);
  const marks = byPowers ? [] : ticks(high, 4).filter((value) => Number.isInteger(value));
  const y = byPowers ? powers(high, bottom, top) : linear(0, Math.max(marks.at(-1), high), bottom, top);
  axis(area, y, byPowers ? [0, ...y.ticks] : marks, (value) => (byPowers && value === 0 ? "" : format.tinyCount(value)));
  const step = (right - left) / buckets.length;
  const wide = Math.max(step - (step > 6 ? 2 : step > 3 ? 1 : 0), 0.7);
  const middle = (n) => +(left + (n + 0.5) * step).toFixed(1);
  writeBelow(area, buckets, middle, step);
  buckets.forEach((_, n) => {
    let below = 0;
    for (const stack of stacks) {
      const value = stack.values[n];
      if (value === 0) continue;
      const low = y(below);
      const tall = Math.max(low - y(below + value), 1.5); // what is there can be seen
      const bar = drawn("rect", { x: +(middle(n) - wide / 2).toFixed(2), y: low - tall, width: +wide.toFixed(2), height: tall, class: "fill" });
      bar.dataset.series = stack.series;
      svg.append(bar);
      below += value;
    }
  });
  return buckets.map((bucket, n) => ({
    x: middle(n),
    text: `${bucket.name}: ${stacks.map((stack) => `${format.count(stack.values[n])} ${stack.name.toLowerCase()}`).join(", ")}`,
  }));
}

function writeBelow(area, buckets, middle, step) {
  if (buckets[0]?.at !== undefined) {
    const length = buckets.length > 1 ? buckets[1].at - buckets[0].at : 0;
    timeAxis(area, linear(buckets[0].at, buckets.at(-1).at + length, area.left, area.right));
    return;
  }
  const every = Math.ceil(44 / step); // pixels that a name needs
  buckets.forEach((bucket, n) => {
    if (n % every === 0) label(area.svg, middle(n), area.bottom + 18, bucket.short ?? bucket.name, "middle");
  });
}
