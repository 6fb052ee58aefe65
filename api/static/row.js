// One alert as a row of the list.

import { make } from "./dom.js";
import { narrow } from "./filters.js";
import * as format from "./format.js";

export function rowOf(alert) {
  const row = make("tr", { role: "row", tabIndex: -1, "data-alert": alert.alert_id });
  fill(row, alert);
  return row;
}

// Writes the alert into its row, also again after it was changed.
export function fill(row, alert) {
  const at = new Date(alert.event_time);
  row.dataset.decision = alert.decision;
  row.dataset.status = alert.status;
  row.replaceChildren(
    cell("time", make("a", { href: `/alerts/${alert.alert_id}`, title: `Transaction ${alert.transaction_id}` },
      make("time", { dateTime: alert.event_time }, make("b", {}, format.timeOfDay(at)), " ", make("span", { class: "quiet" }, format.date(at))))),
    cell("score", bar(alert.score), make("span", {}, format.score(alert.score))),
    cell("decision", make("span", { class: "badge" }, alert.decision)),
    cell("amount number", format.money(alert.amount, alert.amount_minor, alert.currency)),
    cell("card", narrowing("card_token", alert.card_token, "card")),
    cell("terminal", narrowing("terminal_id", alert.terminal_id, "terminal")),
    cell("reasons", reasons(alert.reasons)),
    cell("doing", ...doing(alert)),
  );
}

function cell(kind, ...children) {
  return make("td", { role: "cell", class: kind }, ...children);
}

function bar(score) {
  const filled = make("i", {});
  filled.style.width = `${Math.max(score * 100, 2).toFixed(1)}%`;
  return make("span", { class: "bar", "aria-hidden": "true" }, filled);
}

// A value that narrows the list to itself.
function narrowing(field, value, kind) {
  const button = make("button", { type: "button", class: "code", title: `Only alerts of ${kind} ${value}` }, value);
  button.addEventListener("click", () => narrow(field, value));
  return button;
}

function reasons(given) {
  if (given.length === 0) return make("span", { class: "quiet" }, "no reason was given");
  const [first, second, ...others] = given;
  const more = others.length > 0 ? `, and ${format.count(others.length)} more` : "";
  return make("ul", {}, make("li", {}, first.text), ...(second === undefined ? [] : [make("li", {}, second.text + more)]));
}

function doing(alert) {
  const state = alert.outcome ?? alert.status;
  const parts = [make("span", { class: "mark", "data-mark": state }, state)];
  if (alert.assignee !== null) parts.push(make("span", { class: "quiet" }, alert.assignee));
  if (alert.snoozed_until !== null && Date.parse(alert.snoozed_until) > Date.now()) {
    parts.push(make("span", { class: "quiet" }, `snoozed to ${format.shortDate(new Date(alert.snoozed_until))}, ${format.hour(new Date(alert.snoozed_until))}`));
  }
  return parts;
}
