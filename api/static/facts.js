// What is known of the alert, its payment and its decision, and whether it can be made again.

import { byId, make, show, write } from "./dom.js";
import { get } from "./fetching.js";
import * as format from "./format.js";

const CODED = new Set(["Transaction", "Card", "Terminal", "Merchant", "Customer", "Model version", "Policy", "device id", "ip"]);

export const amount = (alert) => format.money(alert.amount, alert.amount_minor, alert.currency);

export function showAlert(alert) {
  byId("lead").dataset.decision = alert.decision;
  byId("lead").dataset.status = alert.status;
  const at = new Date(alert.event_time);
  byId("title").replaceChildren(make("span", { class: "badge" }, alert.decision), " ", amount(alert));
  byId("line").replaceChildren(
    "on ", make("time", { dateTime: alert.event_time }, `${format.date(at)}, ${format.timeOfDay(at)} UTC`),
    " by card ", listed("card_token", alert.card_token), " at terminal ", listed("terminal_id", alert.terminal_id),
  );
  const state = alert.outcome ?? alert.status;
  const snoozed = alert.snoozed_until !== null && Date.parse(alert.snoozed_until) > Date.now();
  list("lead-facts", [
    ["Score", make("b", {}, format.score(alert.score))],
    ["Status", make("span", { class: "mark", "data-mark": state }, alert.outcome === null ? alert.status : `closed: ${alert.outcome}`)],
    ["Assigned to", alert.assignee ?? "nobody"],
    ...(snoozed ? [["Snoozed until", `${format.moment(new Date(alert.snoozed_until))} UTC`]] : []),
  ]);
  if (byId("payment").childElementCount === 0) list("payment", payment(alert));
}

// A value as the list of its other alerts.
function listed(field, value) {
  return make("a", { class: "code", href: `/?status=any&snoozed=any&${field}=${encodeURIComponent(value)}` }, value);
}

function payment(alert) {
  return [["Transaction", alert.transaction_id], ["Merchant", alert.merchant_id ?? "not told"]];
}

export async function loadDecision(alert) {
  byId("replay-check").addEventListener("click", () => again(alert));
  const found = await get(`/v1/decisions/${path(alert.transaction_id)}`);
  const details = Object.entries(found.details ?? {}).map(([name, value]) => [name.replaceAll("_", " "), typeof value === "object" ? told(value) : String(value)]);
  list("payment", [
    ...payment(alert),
    ...(found.customer_id === null ? [] : [["Customer", found.customer_id]]),
    ...(found.channel === null ? [] : [["Channel", found.channel]]),
    ...details,
    ...found.labels.map((label) => [`${label.source} said`, `${label.fraud ? "fraud" : "genuine"}, ${format.moment(new Date(label.labelled_at))}`]),
  ]);
  list("decision", [
    ["Decided", `${format.span(Date.parse(found.event_time), Date.parse(found.scored_at))} after the payment`],
    ["Model version", made(found.model_version)],
    ["Policy", made(found.policy_version)],
    ...(found.propensity < 1 ? [["Control group", `${format.share(found.propensity, 1)} of such payments are reviewed instead`]] : []),
  ]);
  list("inputs", found.features.filter((one) => one.value !== null)
    .map((one) => [(one.name ?? "of another release").replaceAll("_", " "), String(+one.value.toPrecision(6))]));
  show("inputs-box", found.features.length > 0);
}

const path = (id) => id.split("/").map(encodeURIComponent).join("/");
const told = (value) => Object.entries(value ?? {}).map(([name, one]) => `${name} ${one}`).join(", ");
const made = (version) => make("span", { class: "code", title: version }, version.slice(0, 12));

async function again(alert) {
  byId("replay-check").disabled = true;
  try {
    const found = await get(`/v1/decisions/${path(alert.transaction_id)}/replay`);
    byId("replay").dataset.same = String(found.same);
    write("replay-text", found.same
      ? "The same to the last bit."
      : `Not the same: it was ${found.stored.decision}, now it is ${found.again.decision}. Something was altered.`);
  } catch (error) {
    write("replay-text", `It cannot be: ${error.message}`);
  } finally {
    byId("replay-check").disabled = false;
  }
}

function list(id, rows) {
  byId(id).replaceChildren(...rows.map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", { class: CODED.has(name) ? "code" : "" }, value))));
}
