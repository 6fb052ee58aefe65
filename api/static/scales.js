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

const MINUTE = 60_000;
const HOUR = 3_600_000;
const STEPS = [
  MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR,
  DAY, 2 * DAY, 4 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 56 * DAY, 112 * DAY, 224 * DAY, 448 * DAY,
];
const NEEDS = 78; // pixels of a label

// Round moments (UTC) that a time axis of so many pixels is labelled at, as [moment, text].
export function moments(first, last, pixels) {
  if (last <= first) return [[first, format.shortDate(first)]];
  const step = STEPS.find((one) => ((last - first) / one) * NEEDS <= pixels) ?? STEPS.at(-1);
  const found = [];
  for (let at = Math.ceil(first / step) * step; at <= last; at += step) {
    found.push([at, step >= DAY || at % DAY === 0 ? format.shortDate(at) : format.hour(at)]);
  }
  return found;
}
