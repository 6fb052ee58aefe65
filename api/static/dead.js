// Dead letters: what could not be taken and why, and sending it again.

import { byId, make, show, write } from "./dom.js";
import { get, send } from "./fetching.js";
import * as format from "./format.js";
import { tell } from "./told.js";

const PAGE = 20;
const MOST = 500; // rows

const REASONS = {
  malformed: "cannot be read", missing_field: "a field is missing", wrong_type: "a field of the wrong type", out_of_range: "out of range",
  bad_time: "no time", time_without_offset: "a time without its offset", unknown_currency: "unknown currency", negative_amount: "negative amount",
  card_number: "a card number", unknown_value: "unknown value", id_reused: "an id used twice",
};

const inWords = (reason) => REASONS[reason] ?? reason.replaceAll("_", " ");

let next = null;
let older = false; // older ones are shown: the list stands still
let generation = 0;

function asked() {
  return Object.fromEntries(new FormData(byId("dead-filters")));
}

export async function refresh() {
  if (older || byId("dead-rows").contains(document.activeElement)) return;
  const now = generation;
  const page = await get("/v1/dead-letters", { ...asked(), limit: PAGE });
  if (now !== generation || older) return;
  const text = JSON.stringify(page.data);
  if (byId("dead-rows").dataset.shown !== text) {
    byId("dead-rows").dataset.shown = text;
    byId("dead-rows").replaceChildren(...page.data.map(row));
  }
  next = page.next;
  show("dead-more", next !== null);
  show("dead-box", page.data.length > 0);
  show("dead-empty", page.data.length === 0);
  const filtered = Object.values(asked()).some((value) => value !== "");
  write("dead-empty", filtered ? "No dead letter matches." : "Every message could be taken.");
}

export function showReasons(byReason) {
  const select = byId("dead-reason");
  const names = Object.keys(byReason).sort();
  if (select.dataset.shown === names.join("\n") || document.activeElement === select) return;
  select.dataset.shown = names.join("\n");
  const { value } = select;
  select.replaceChildren(make("option", { value: "" }, "Any reason"), ...names.map((name) => make("option", { value: name }, inWords(name))));
  select.value = names.includes(value) ? value : "";
}

function row(letter) {
  const last = make("td", { class: "number" });
  if (letter.replayed_at === null) {
    const button = make("button", { type: "button", class: "button small" }, "Replay");
    button.setAttribute("aria-label", `Replay dead letter ${letter.id}`);
    button.addEventListener("click", () => replay(letter, button));
    last.append(button);
  } else {
    last.append(make("span", { class: "quiet" }, `replayed ${format.moment(new Date(letter.replayed_at))}`));
  }
  return make("tr", {},
    make("td", {}, format.moment(new Date(letter.at))),
    make("td", {}, make("span", { class: "mark" }, inWords(letter.reason))),
    make("td", {}, letter.field === null ? letter.detail : `${letter.field.replaceAll("_", " ")}: ${letter.detail}`),
    make("td", { class: "quiet" }, `${letter.topic}, ${letter.partition}, ${format.count(letter.offset)}`),
    make("td", { class: "code payload", title: letter.payload }, letter.payload),
    last);
}

async function replay(letter, button) {
  button.disabled = true;
  try {
    const done = await send("POST", `/v1/dead-letters/${letter.id}/replay`, {});
    tell(`Sent again to ${done.topic}. What becomes of it is seen in a moment.`);
    button.replaceWith(make("span", { class: "quiet" }, `replayed ${format.moment(new Date(done.replayed_at))}`));
  } catch (error) {
    button.disabled = false;
    tell(`Not replayed: ${error.message}`);
  }
}

export function listen(changed) {
  byId("dead-filters").addEventListener("change", () => {
    generation += 1;
    older = false;
    changed();
  });
  byId("dead-more").addEventListener("click", async () => {
    const now = generation;
    byId("dead-more").disabled = true;
    try {
      const page = await get("/v1/dead-letters", { ...asked(), limit: PAGE, after: next });
      if (now !== generation) return;
      older = true;
      byId("dead-rows").append(...page.data.map(row));
      next = page.next;
      show("dead-more", next !== null && byId("dead-rows").childElementCount < MOST);
    } catch (error) {
      tell(`Not read: ${error.message}`);
    } finally {
      byId("dead-more").disabled = false;
    }
  });
}
