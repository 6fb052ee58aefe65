// What was done, or was not, with one thing that can be done about it.

import { byId, make, show } from "./dom.js";

const TOLD = 12_000; // milliseconds that it stays, and can be taken back

let telling = 0;

export function tell(text, label = null, act = null, stays = false) {
  clearTimeout(telling);
  const place = byId("told");
  place.replaceChildren(make("span", {}, text));
  place.dataset.kind = stays ? "clash" : "done";
  place.setAttribute("role", stays ? "alert" : "status");
  if (label !== null) {
    const button = make("button", { type: "button", class: "button" }, label);
    button.addEventListener("click", () => {
      show("told", false);
      act();
    });
    place.append(button);
  }
  const leave = make("button", { type: "button", class: "button", "aria-label": "Leave it" }, stays ? "Leave it" : "×");
  leave.addEventListener("click", () => show("told", false));
  place.append(leave);
  show("told", true);
  if (!stays) telling = setTimeout(() => show("told", false), TOLD);
}
