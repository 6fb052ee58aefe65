// What was said of the alert, and what was done to it where the API tells.

import { byId, make, show, write } from "./dom.js";
import { get, send } from "./fetching.js";
import * as format from "./format.js";
import { offers } from "./shell.js";
import { tell } from "./told.js";

const PAGE = 200;
const MOST = 1_000; // comments
let trail = offers("audit");
let asking = 0; // counts readings: an answer that a later one overtook is dropped

export async function refresh(id) {
  asking += 1;
  const now = asking;
  const found = [];
  let after = null;
  do {
    const page = await get(`/v1/alerts/${encodeURIComponent(id)}/comments`, { limit: PAGE, after });
    found.push(...page.data);
    after = page.next;
  } while (after !== null && found.length < MOST);
  if (now !== asking) return;
  fill("comments", found.map((one) => [one.at, one.author, one.text]));
  if (found.length === 0) byId("comments").replaceChildren(make("li", { class: "quiet" }, "Nobody said anything yet."));
  if (trail) await refreshTrail(id);
}

// Not everybody may read it: then it is not there.
async function refreshTrail(id) {
  try {
    const { data } = await get("/v1/audit", { subject: id, limit: 50 });
    const changes = data.filter((one) => one.action !== "alert.comment"); // they stand above
    fill("trail", changes.map((one) => [one.at, one.actor, said(one)]));
    show("trail-panel", changes.length > 0);
  } catch {
    trail = false;
  }
}

function said({ action, before, after }) {
  const changed = Object.keys(after ?? {}).filter((field) => (before ?? {})[field] !== after[field]);
  return changed.map((field) => `${field.replaceAll("_", " ")}: ${before?.[field] ?? "none"} → ${after[field] ?? "none"}`).join(", ") || action;
}

function fill(id, rows) {
  const shown = JSON.stringify(rows);
  if (byId(id).dataset.shown === shown) return;
  byId(id).dataset.shown = shown;
  byId(id).replaceChildren(...rows.map(([at, who, text]) => make("li", {},
    make("p", { class: "by" }, make("b", {}, who), " ", make("time", { class: "quiet", dateTime: at }, format.moment(new Date(at)))),
    make("p", {}, text))));
}

export function listen(id) {
  const field = byId("comment-text");
  byId("comment").addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = field.value.trim();
    if (text === "") return;
    field.value = ""; // what is typed meanwhile is the next one, and a second Enter sends nothing
    try {
      await send("POST", `/v1/alerts/${encodeURIComponent(id)}/comments`, { text });
      write("said", "Comment stored");
      await refresh(id);
    } catch (error) {
      field.value = field.value === "" ? text : `${text}\n${field.value}`;
      tell(`Not stored: ${error.message}`);
    }
  });
  // Ctrl and Enter sends what was written, as everywhere.
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("comment").requestSubmit();
    if (event.key === "Escape") field.blur();
  });
}
