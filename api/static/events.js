// News of alerts as they happen, where the API sends them; else the caller goes on asking.

import { offers } from "./shell.js";

const AGAIN = 60_000; // milliseconds until a stream that was refused is tried again

let source = null;
let again = 0;

export const isLive = () => source?.readyState === EventSource.OPEN;

// `changed` gets an alert, new or changed; `anew` is called when news may have been missed.
export function listen(changed, anew) {
  if (!offers("stream")) return;

  function open() {
    clearTimeout(again);
    source?.close();
    source = new EventSource("/v1/alerts/stream");
    source.addEventListener("open", anew);
    source.addEventListener("reset", anew);
    for (const kind of ["alert.created", "alert.changed"]) {
      source.addEventListener(kind, (event) => changed(JSON.parse(event.data)));
    }
    source.addEventListener("error", () => {
      // The browser connects again by itself where the stream ended, not where it was refused.
      if (source.readyState === EventSource.CLOSED) again = setTimeout(open, AGAIN);
    });
  }

  // A browser has six connections to a server: pages that nobody looks at are to hold none.
  function turn() {
    if (document.hidden) {
      clearTimeout(again);
      source?.close();
    } else if (source === null || source.readyState === EventSource.CLOSED) {
      open();
    }
  }

  document.addEventListener("visibilitychange", turn);
  addEventListener("pagehide", () => source?.close());
  turn();
}
