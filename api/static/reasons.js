// Why: each reason in words, and its weight as a bar from the middle.

import { make } from "./dom.js";

export function drawReasons(place, reasons) {
  if (reasons.length === 0) {
    place.replaceChildren(make("li", { class: "quiet" }, "No reason was given."));
    return;
  }
  const most = Math.max(...reasons.map((reason) => Math.abs(reason.weight)), 1);
  place.replaceChildren(...reasons.map((reason) => {
    const filled = make("i", {});
    const share = (Math.abs(reason.weight) / most) * 50;
    filled.style.width = `${share.toFixed(1)}%`;
    filled.style.left = `${(reason.weight < 0 ? 50 - share : 50).toFixed(1)}%`;
    const against = reason.weight < 0;
    return make("li", { "data-side": against ? "against" : "for" },
      make("span", { class: "reason" }, reason.text),
      make("span", { class: "weight", "aria-hidden": "true" }, filled),
      make("span", { class: "number" }, `${against ? "−" : "+"}${Math.abs(reason.weight).toFixed(2)}`));
  }));
}
