// One alert: the decision and why, the card's and the terminal's past, and what was said and done.

import * as comments from "./comments.js";
import { byId, show, write } from "./dom.js";
import * as events from "./events.js";
import * as facts from "./facts.js";
import { get, Refused } from "./fetching.js";
import { listAddress } from "./filters.js";
import * as history from "./history.js";
import * as keys from "./keys.js";
import { drawReasons } from "./reasons.js";
import { run, showStreamTime } from "./shell.js";
import * as similar from "./similar.js";
import { tell } from "./told.js";
import * as work from "./work.js";

const USUALLY = 5_000; // milliseconds between two readings
const LIVE = 10_000; // the same while news come by themselves

const id = decodeURIComponent(location.pathname.split("/").at(-1));
let alert = null;

async function ask() {
  try {
    const [found, stats] = await Promise.all([get(`/v1/alerts/${encodeURIComponent(id)}`), get("/v1/stats")]);
    showStreamTime(stats.stream_time);
    changed(found);
  } catch (error) {
    if (!(error instanceof Refused) || ![404, 422].includes(error.status)) throw error;
    write("nothing", "There is no such alert. It may be older than what is kept.");
    return undefined;
  }
  await comments.refresh(id);
  return undefined;
}

function changed(now) {
  const first = alert === null;
  if (!first && now.version < alert.version) return;
  alert = now;
  facts.showAlert(alert);
  work.showFor(alert);
  if (!first) return;
  document.title = `${facts.amount(alert)} · Alert · Tidegate`;
  show("nothing", false);
  show("alert", true); // charts have a width to be drawn to only while they are shown
  drawReasons(byId("reasons"), alert.reasons);
  for (const part of [facts.loadDecision, history.loadCard, history.loadTerminal, similar.load]) {
    part(alert).catch((error) => tell(`Not everything could be read: ${error.message}`));
  }
}

const actions = work.actions(() => alert, (now) => {
  changed(now);
  comments.refresh(id).catch(() => {});
});
work.listen(actions);
comments.listen(id);
byId("back").href = listAddress();
keys.listen({
  a: actions.assign, i: actions.investigating, f: actions.fraud, g: actions.genuine, u: actions.unclear,
  s: actions.snooze, "?": actions.help, c: () => byId("comment-text").focus(), Escape: () => byId("back").click(),
});
const askNow = run(ask, () => (events.isLive() ? LIVE : USUALLY));
events.listen((news) => {
  if (news.alert_id === id) changed(news);
}, askNow);
