// The past of an alert's card, payment by payment, and of its terminal, counted.

import { bars } from "./bars.js";
import { byId, write } from "./dom.js";
import { dots } from "./dots.js";
import { get } from "./fetching.js";
import * as format from "./format.js";

const DAY = 86_400_000; // milliseconds
const BEFORE = 45 * DAY; // of the card's past
const AFTER = 7 * DAY; // and of what came after the alert
const MOST = 200; // payments
const SPANS = { hour: 3 * DAY, day: 60 * DAY }; // of the terminal, before the alert

const text = (at) => new Date(at).toISOString();

export async function loadCard(alert) {
  const at = Date.parse(alert.event_time);
  const asked = (since, until, limit) => get("/v1/decisions", { card_token: alert.card_token, since: text(since), until: text(until), limit });
  // Apart, so that many payments after the alert do not take the place of those before it.
  const [before, after] = await Promise.all([asked(at - BEFORE, at + 1, MOST), asked(at + 1, at + AFTER, MOST / 4)]);
  const found = [...after.data, ...before.data].filter((one) => one.currency === alert.currency).reverse();
  if (!found.some((one) => one.transaction_id === alert.transaction_id)) found.push(alert);
  found.sort((one, other) => Date.parse(one.event_time) - Date.parse(other.event_time));
  const places = new Set(found.map((one) => one.terminal_id)).size;
  write("card-hint", `${format.plural(found.length, "payment", "payments")} in ${alert.currency} at ${format.plural(places, "terminal", "terminals")}, `
    + `${before.next === null ? "45 days" : "as far back as is shown"} before this one and 7 days after.`);
  dots(byId("card-plot")).show(found, alert.transaction_id);
}

export async function loadTerminal(alert) {
  const chart = bars(byId("terminal-plot"), { label: "Payments at the terminal." });
  const chosen = () => byId("terminal-step").querySelector(":checked").value;
  const load = async () => {
    const step = chosen();
    const length = step === "day" ? DAY : DAY / 24;
    const until = (Math.floor(Date.parse(alert.event_time) / length) + (step === "day" ? 8 : 25)) * length;
    const since = until - SPANS[step];
    const found = await get("/v1/traffic/terminals", { terminal_id: alert.terminal_id, step, since: text(since), until: text(until) });
    if (step !== chosen()) return; // another one was chosen meanwhile
    const count = Math.round((until - since) / length);
    const approved = new Array(count).fill(0);
    const others = new Array(count).fill(0);
    for (const series of found.series) {
      series.buckets.forEach((bucket, n) => {
        const place = Math.round((Date.parse(bucket) - since) / length);
        approved[place] += series.decisions[n] - series.not_approved[n];
        others[place] += series.not_approved[n];
      });
    }
    const buckets = approved.map((_, n) => {
      const at = since + n * length;
      return { at, name: step === "day" ? format.date(at) : format.moment(at) };
    });
    const all = (values) => values.reduce((sum, value) => sum + value, 0);
    write("terminal-hint", `${format.plural(all(approved) + all(others), "payment", "payments")} at ${alert.terminal_id} in ${SPANS[step] / DAY} days, ${format.count(all(others))} not approved.`);
    chart.show(buckets, [
      { series: "not_approved", name: "Not approved", values: others },
      { series: "approve", name: "Approved", values: approved },
    ]);
  };
  byId("terminal-step").addEventListener("change", () => load().catch((error) => write("terminal-hint", error.message)));
  await load();
}
