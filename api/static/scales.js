// From values to pixels, and the round values that axes are labelled with.

import * as format from "./format.js";

const DAY = 86_400_000; // milliseconds

// From [low, high] to [begin, end] pixels, a tenth of a pixel fine.
export function linear(low, high, begin, end) {
  const span = high - low || 1;
  const scale = (value) => +(begin + ((value - low) / span) * (end - begin)).toFixed(1);
  return Object.assign(scale, { low, high });
}

// The same by powers of ten; what is below 1 stands on the ground.
export function powers(high, begin, end) {
  const top = Math.max(1, Math.ceil(Math.log10(Math.max(high, 1))));
  const scale = (value) => +(begin + (value < 1 ? 0 : (0.06 + 0.94 * (Math.log10(value) / top))) * (end - begin)).toFixed(1);
  return Object.assign(scale, { ticks: Array.from({ length: top + 1 }, (_, power) => 10 ** power) });
}

// Round values from 0 to at least `high`, some `wanted` of them.
export function ticks(high, wanted = 4) {
  const rough = (high || 1) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const count = Math.ceil((high || 1) / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, n) => +(n * step).toPrecision(12));
}

// Moments that a time axis is labelled at, as [moment, text, anchor].
export function moments(first, last, width) {
  if (last <= first) return [[first, format.shortDate(first), "middle"]];
  const parts = width > 560 ? 4 : width > 320 ? 3 : 2;
  const span = last - first;
  return Array.from({ length: parts + 1 }, (_, part) => {
    const at = first + (span * part) / parts;
    const text = span > 4 * DAY ? format.shortDate(at) : span > DAY ? `${format.shortDate(at)}, ${format.hour(at)}` : format.hour(at);
    return [at, text, part === 0 ? "start" : part === parts ? "end" : "middle"];
  });
}
