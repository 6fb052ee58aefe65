// Numbers, money and times as people read them. Times are the stream's and shown in UTC.

const integers = new Intl.NumberFormat();
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const shares = new Intl.NumberFormat(undefined, { style: "percent", maximumSignificantDigits: 2 });
const currencies = new Map();

const UTC = { timeZone: "UTC" };
const clock = new Intl.DateTimeFormat(undefined, { ...UTC, hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const shortClock = new Intl.DateTimeFormat(undefined, { ...UTC, hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { ...UTC, day: "numeric", month: "short", year: "numeric" });
const shortDay = new Intl.DateTimeFormat(undefined, { ...UTC, day: "numeric", month: "short" });

export const count = (value) => integers.format(value);
export const shortCount = (value) => (value < 100_000 ? integers.format(value) : compact.format(value));
export const tinyCount = (value) => (value < 10_000 ? integers.format(value) : compact.format(value));
export const share = (part, whole) => (whole > 0 ? shares.format(part / whole) : "");
export const score = (value) => value.toFixed(3);

export const timeOfDay = (at) => clock.format(at);
export const hour = (at) => shortClock.format(at);
export const date = (at) => day.format(at);
export const shortDate = (at) => shortDay.format(at);
export const moment = (at) => `${day.format(at)}, ${shortClock.format(at)}`;

export function plural(number, one, many) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

// The decimals are those of the text from the API (ISO 4217): browsers differ on some currencies.
export function money(amount, minor, currency) {
  if (amount === null) return `${count(minor)} minor units of ${currency}`;
  const digits = amount.includes(".") ? amount.length - amount.indexOf(".") - 1 : 0;
  const key = currency + digits;
  if (!currencies.has(key)) currencies.set(key, currencyFormat(currency, digits));
  const format = currencies.get(key);
  return format === null ? `${amount} ${currency}` : format.format(amount);
}

function currencyFormat(currency, digits) {
  try {
    return new Intl.NumberFormat(undefined, {
      style: "currency", currency, minimumFractionDigits: digits, maximumFractionDigits: digits,
    });
  } catch {
    return null; // no currency that the browser takes
  }
}

// Seconds, as short as they can be told.
export function seconds(value) {
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 100) return `${+value.toPrecision(2)} s`;
  return value < 7200 ? `${Math.round(value / 60)} min` : `${Math.round(value / 3600)} h`;
}

// How long ago, or until, in words; `from` and `to` are times in milliseconds.
export function span(from, to) {
  const hours = Math.abs(to - from) / 3_600_000;
  if (hours < 1) return plural(Math.round(hours * 60), "minute", "minutes");
  return hours < 48 ? plural(Math.round(hours), "hour", "hours") : plural(Math.round(hours / 24), "day", "days");
}
