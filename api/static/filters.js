// Which alerts are listed: kept in the address, so that a list can be sent to somebody.

import { byId } from "./dom.js";
import { me, myName } from "./shell.js";
import { tab } from "./storage.js";

const USUAL = { status: "open", snoozed: "no", sort: "newest" };
const LIST = "tidegate-list"; // the address of the list, for the way back to it

const form = () => byId("filters");

function given() {
  return Object.fromEntries([...new FormData(form())].map(([name, value]) => [name, String(value).trim()]));
}

const unusual = () => Object.entries(given()).filter(([name, value]) => value !== (USUAL[name] ?? ""));

export const isFiltered = () => unusual().some(([name]) => name !== "sort");

// What the API is asked for.
export function asked() {
  const { status, snoozed, whose, ...others } = given();
  return {
    ...others,
    status: status === "any" ? "" : status,
    snoozed: { no: "false", yes: "true", any: "" }[snoozed],
    assignee: whose === "mine" ? me() : "",
    unassigned: whose === "nobody" ? "true" : "",
  };
}

function keep() {
  const query = new URLSearchParams(unusual());
  const address = query.size > 0 ? `${location.pathname}?${query}` : location.pathname;
  history.replaceState(null, "", address);
  tab.write(LIST, address);
}

export const listAddress = () => tab.read(LIST) ?? "/";

export function clear() {
  form().reset();
  form().dispatchEvent(new Event("change"));
}

// Narrows the list to one value; the button that says so goes with its row.
export function narrow(field, value) {
  byId("alerts").focus({ preventScroll: true });
  form().elements[field].value = value;
  form().dispatchEvent(new Event("change"));
}

// Restores the filters of the address; `changed` is called when others are chosen.
export function listen(changed) {
  for (const [name, value] of new URLSearchParams(location.search)) {
    if (form().elements[name]) form().elements[name].value = value;
  }
  if (form().elements.whose.value === "mine" && me() === null) form().elements.whose.value = "";
  keep();
  let typing = 0;
  const apply = async () => {
    clearTimeout(typing);
    if (form().elements.whose.value === "mine" && (await myName()) === null) form().elements.whose.value = "";
    keep();
    changed();
  };
  form().addEventListener("change", apply);
  form().addEventListener("input", (event) => {
    if (event.target.type !== "search") return;
    clearTimeout(typing);
    typing = setTimeout(apply, 400);
  });
  form().addEventListener("submit", (event) => {
    event.preventDefault();
    apply();
  });
}
