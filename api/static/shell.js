// What all pages have: the theme, the state of the connection, the stream's time, and who looks.

import { byId, show, write } from "./dom.js";
import { poll } from "./fetching.js";
import * as format from "./format.js";
import { session, signOut } from "./signing.js";
import { kept } from "./storage.js";

const THEMES = ["system", "light", "dark"];
const NAME = "tidegate-name";

const offered = new Set(document.body.dataset.offers.split(" "));

// Whether this API has a route that not every one has.
export const offers = (name) => offered.has(name);

// Asks again and again, and says so when that fails. `ask` may give a state: live or paused.
export function run(ask, every) {
  const turn = async () => {
    const state = await ask();
    show("trouble", false);
    showState(state ?? "live");
  };
  return poll(turn, failed, every);
}

export function showState(state) {
  byId("state").dataset.state = state;
  write("state-text", { live: "Live", paused: "Paused", away: "Trying again" }[state]);
}

export function failed(error, delay = 0) {
  const then = delay > 0 ? ` Trying again in ${Math.round(delay / 1000)} s.` : "";
  write("trouble", `${error.message.replace(/\.$/, "")}.${then}`);
  show("trouble", true);
  showState("away");
}

export function showStreamTime(at) {
  if (at === null) {
    write("stream-time", "not begun");
    return;
  }
  const time = new Date(at);
  byId("stream-time").dateTime = at;
  write("stream-time", `${format.date(time)}, ${format.timeOfDay(time)} UTC`);
}

// A number of the totals; its title says it in full.
export function total(id, number, before = "") {
  write(id, before + format.shortCount(number));
  byId(id).title = before + format.count(number);
}

function listenToTheme() {
  let chosen = kept.read("tidegate-theme") ?? "system";
  const told = () => {
    const shown = chosen.charAt(0).toUpperCase() + chosen.slice(1);
    write("theme", `${shown} theme`);
    byId("theme").title = "Light, dark, or as the system has it";
  };
  byId("theme").addEventListener("click", () => {
    chosen = THEMES[(THEMES.indexOf(chosen) + 1) % THEMES.length];
    if (chosen === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    kept.write("tidegate-theme", chosen === "system" ? null : chosen);
    told();
  });
  told();
}

let name = kept.read(NAME);
let known = false; // by the API: nobody can say that they are another one

export const me = () => name;

// The name of who looks, asked for once; null when they would not say.
export async function myName() {
  return name ?? askName();
}

function askName() {
  const dialog = byId("name");
  byId("name-text").value = name ?? "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = byId("name-text").value.trim();
      if (dialog.returnValue === "done" && given !== "") {
        name = given;
        kept.write(NAME, name);
        showName();
        resolve(name);
      } else {
        resolve(null);
      }
    }, { once: true });
  });
}

function showName() {
  write("who", name ?? "");
  show("who", name !== null);
  byId("who").title = known ? "Who you are to the API" : "Change your name";
}

async function recognise() {
  showName();
  const found = await session();
  show("leave", Boolean(found?.csrf_token));
  // Where authentication is off everybody has the same name: then each says their own.
  if (typeof found?.name !== "string" || found.name === "" || found.actor === "anonymous") return;
  name = found.name;
  known = true;
  showName();
}

listenToTheme();
byId("who").addEventListener("click", () => {
  if (!known) askName();
});
byId("leave").addEventListener("click", signOut);
byId("name-cancel").addEventListener("click", () => byId("name").close());

// Done when it is known who looks, as far as the API can tell.
export const recognised = recognise();
