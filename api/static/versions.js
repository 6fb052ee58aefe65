// The published versions of a model, newest first.

import { byId, make, show, write } from "./dom.js";
import { get } from "./fetching.js";
import * as format from "./format.js";
import { failed } from "./shell.js";

let model = null;
let next = null;

export function begin(name, page) {
  model = name;
  write("versions-of", name);
  byId("versions").replaceChildren();
  add(page);
}

function add(page) {
  byId("versions").append(...page.data.map((one) => make("tr", {},
    make("td", { class: "code", title: one.version }, one.version.slice(0, 12)),
    make("td", {}, format.moment(new Date(one.stream_time))),
    make("td", { class: "number" }, format.count(one.examples)),
    make("td", { class: "number" }, format.count(one.frauds)))));
  next = page.next;
  show("more", next !== null);
}

byId("more").addEventListener("click", async () => {
  try {
    const of = model;
    const page = await get(`/v1/models/${encodeURIComponent(of)}`, { limit: 50, points: 2, after: next });
    if (of === model) add(page.versions);
  } catch (error) {
    failed(error);
  }
});
