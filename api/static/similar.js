// Alerts that may belong together with this one.

import { byId, make, show } from "./dom.js";
import { get } from "./fetching.js";
import * as format from "./format.js";
import { offers } from "./shell.js";

const MOST = 8;
const SHARED = { card: "same card", terminal: "same terminal", reason: "same main reason" };

export async function load(alert) {
  const found = offers("similar") ? await given(alert) : await looked(alert);
  byId("similar").replaceChildren(...found.slice(0, MOST).map(([other, why]) => item(alert, other, why)));
  show("similar-empty", found.length === 0);
}

async function given(alert) {
  const { data } = await get(`/v1/alerts/${alert.alert_id}/similar`);
  return data.map(({ why: shared, ...one }) => {
    const other = one.alert ?? one;
    return [other, Array.isArray(shared) ? shared.map((what) => SHARED[what] ?? what).join(", ") : why(alert, other)];
  });
}

// The newest alerts of the card and of the terminal.
async function looked(alert) {
  const [card, terminal] = await Promise.all([
    get("/v1/alerts", { card_token: alert.card_token, limit: MOST }),
    get("/v1/alerts", { terminal_id: alert.terminal_id, limit: MOST }),
  ]);
  const found = new Map([...card.data, ...terminal.data].map((other) => [other.alert_id, other]));
  found.delete(alert.alert_id);
  const off = (other) => Math.abs(Date.parse(other.event_time) - Date.parse(alert.event_time));
  return [...found.values()].sort((one, other) => off(one) - off(other)).map((other) => [other, why(alert, other)]);
}

function why(alert, other) {
  const shared = [];
  if (other.card_token === alert.card_token) shared.push("same card");
  if (other.terminal_id === alert.terminal_id) shared.push("same terminal");
  if (shared.length === 0 && other.reasons[0]?.code === alert.reasons[0]?.code) shared.push("same main reason");
  return shared.join(", ");
}

function item(alert, other, shared) {
  const [here, there] = [Date.parse(alert.event_time), Date.parse(other.event_time)];
  const state = other.outcome ?? other.status;
  return make("li", { "data-decision": other.decision },
    make("a", { href: `/alerts/${other.alert_id}` }, format.money(other.amount, other.amount_minor, other.currency)),
    make("span", { class: "badge" }, other.decision),
    make("span", { class: "number" }, format.score(other.score)),
    make("span", {}, `${format.span(here, there)} ${there < here ? "before" : "after"}`),
    make("span", { class: "quiet" }, shared),
    make("span", { class: "mark", "data-mark": state }, state));
}
