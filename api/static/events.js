// News of alerts as they happen, where the API sends them; else the caller goes on asking.

import { offers } from "./shell.js";

const AGAIN = 60_000; // milliseconds until a stream that was refused is tried again

let source = null;
let live = false;

export const isLive = () => live;

// `changed` gets an alert, new or changed; `anew` is called when news may have been missed.
export function listen(changed, anew) {
  if (!offers("stream")) return;
  source = new EventSource("/v1/alerts/stream");
  source.addEventListener("open", () => {
    live = true;
    anew();
  });
  for (const kind of ["alert.created", "alert.changed"]) {
    source.addEventListener(kind, (event) => changed(JSON.parse(event.data)));
  }
  source.addEventListener("reset", anew);
  source.addEventListener("error", () => {
    live = false;
    if (source.readyState !== EventSource.CLOSED) return; // the browser connects again by itself
    setTimeout(() => listen(changed, anew), AGAIN);
  });
  addEventListener("pagehide", () => source.close(), { once: true });
}
