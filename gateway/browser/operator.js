// The operator's page: what flows, what waits, what is stuck, and who does the work.

import { ask, sentenceOf } from "./ask.js";
import { Chart } from "./chart.js";
import { byId, setState, setText } from "./dom.js";
import { showLetters } from "./letters.js";
import { readMetrics } from "./metrics.js";
import { Poll } from "./poll.js";
import { showProcesses, showWorkers } from "./processes.js";
import { count, counted, duration, rate, wholeDuration } from "./words.js";

const NUMBERS_EVERY_MS = 1_000;
const SLOWER_EVERY_MS = 5_000;
const LATE_MS = 3_500; // after so long without an answer the numbers are no longer called live
const COUNTERS_FULL = 2_147_483_647; // there the totals stop counting

const NUMBERS = `query Numbers {
  capacity {
    backlog oldestQueuedSeconds deliveriesPerSecond backlogSeconds workers accepting refusingBecause
  }
  getMetrics { totalSent failedAttempts totalRetries avgDeliveryTime }
}`;
const PROCESSES = "query Processes { processes { role pid startedAt restarts } }";
const LETTERS = `query Letters {
  deadLetters(first: 20) {
    groups { id channel error count firstAt lastAt sampleUserIds samplePostIds }
    pageInfo { hasNextPage }
  }
}`;

const rateChart = new Chart(
  byId("rate-chart"),
  "Deliveries per second",
  (value) => `${rate(value)}/s`,
);
const backlogChart = new Chart(byId("backlog-chart"), "Notifications waiting", count);

let before = null; // the totals before these, with their time
let answeredAt = performance.now();
let trouble = null; // why there is no answer
let connected = false;

function showNumbers({ capacity, getMetrics: totals }) {
  const now = performance.now();
  const perSecond = deliveryRate(totals, capacity, now);
  answeredAt = now;
  trouble = null;
  rateChart.add(Date.now(), perSecond);
  backlogChart.add(Date.now(), capacity.backlog);
  setText(byId("rate"), rate(perSecond));
  setText(
    byId("rate-more"),
    `${rate(capacity.deliveriesPerSecond)} per second over the last minute`,
  );
  setText(byId("backlog"), count(capacity.backlog));
  setText(byId("backlog-more"), backlogChart.peak);
  setText(byId("oldest"), capacity.backlog ? duration(capacity.oldestQueuedSeconds) : "none");
  setText(byId("oldest-more"), capacity.backlog ? "since it was posted" : "nothing waits");
  setText(
    byId("drain"),
    capacity.backlogSeconds === null ? "not moving" : duration(capacity.backlogSeconds),
  );
  setText(byId("drain-more"), capacity.backlog ? "at this minute’s rate" : "nothing waits");
  setText(byId("retries"), count(totals.totalRetries));
  setText(byId("retries-more"), counted(totals.failedAttempts, "failed attempt"));
  setText(byId("sent"), count(totals.totalSent));
  setText(byId("sent-more"), `${totals.avgDeliveryTime.replace("ms", " ms")} an attempt`);
  setState(byId("accepting"), capacity.accepting ? "good" : "bad");
  setText(
    byId("accepting").lastElementChild,
    capacity.accepting ? "Posts are accepted" : `Posts are refused: ${capacity.refusingBecause}`,
  );
  showWorkers(capacity.workers);
  showState();
}

/** Deliveries a second since the answer before; at first, over the last minute. */
function deliveryRate(totals, capacity, now) {
  const seconds = before ? (now - before.now) / 1000 : 0;
  const counting = before && totals.totalSent < COUNTERS_FULL && totals.totalSent >= before.sent;
  const delivered = counting ? totals.totalSent - before.sent : 0;
  before = { now, sent: totals.totalSent };
  return counting && seconds > 0.2 ? delivered / seconds : capacity.deliveriesPerSecond;
}

function showSlower({ letters, metrics }) {
  const { groups, pageInfo } = letters.deadLetters;
  const dead = groups.reduce((sum, group) => sum + group.count, 0);
  setText(byId("dead"), `${count(dead)}${pageInfo.hasNextPage ? " and more" : ""}`);
  setText(byId("dead-more"), groups.length ? counted(groups.length, "cause") : "none");
  showLetters(groups, pageInfo.hasNextPage, () => slower.now());
  const reasons = [...metrics.sums("hark_notifications_suppressed_total", "reason")];
  setText(byId("suppressed"), count(reasons.reduce((sum, [, value]) => sum + value, 0)));
  const told = reasons
    .filter(([, value]) => value)
    .map(([reason, value]) => `${reason} ${count(value)}`);
  setText(byId("suppressed-more"), told.join(", ") || "muted or unfollowed");
  const online = metrics.value("hark_live_subscribers") ?? 0;
  setText(byId("online"), `${count(online)} open now`);
  showAccounted(
    metrics.value("hark_unaccounted_notifications"),
    metrics.value("hark_unaccounted_age_seconds"),
  );
}

function showAccounted(unaccounted, ageSeconds) {
  const element = byId("accounted");
  const checked = Number.isFinite(ageSeconds); // before the first whole round it is infinite
  setState(element, unaccounted ? "bad" : checked ? "good" : "");
  if (unaccounted)
    setText(element.lastElementChild, `${counted(unaccounted, "notification")} unaccounted for`);
  else if (!checked)
    setText(element.lastElementChild, "Not yet checked whether all is accounted for");
  else
    setText(
      element.lastElementChild,
      `Every notification is accounted for, as of ${wholeDuration(ageSeconds)} ago`,
    );
}

/** How true the page is. Said aloud only when it changes. */
function showState() {
  const silentMs = performance.now() - answeredAt;
  const late = silentMs > LATE_MS || trouble !== null;
  const state = byId("state");
  if (!connected && !late && before) say("Connected");
  if (connected && late) say("No answer from Hark; trying again");
  connected = !late && before !== null;
  if (late) for (const chart of [rateChart, backlogChart]) chart.draw(Date.now());
  document.body.classList.toggle("stale", late);
  setState(state, late ? "lost" : before ? "live" : "");
  state.title = trouble ?? "";
  if (late)
    setText(byId("state-text"), `No answer for ${wholeDuration(silentMs / 1000)}, trying again`);
  else setText(byId("state-text"), before ? "Live" : "Connecting");
}

const say = (text) => setText(byId("state-spoken"), text);

function fail(error) {
  trouble = sentenceOf(error);
  before = null; // what was delivered meanwhile is no rate
  showState();
}

async function askSlower() {
  const [letters, metrics] = await Promise.all([ask(LETTERS), readMetrics()]);
  return { letters, metrics };
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  answeredAt = performance.now(); // nobody asked while the page was hidden
  before = null;
});
setInterval(() => document.hidden || showState(), 1_000);
new Poll(NUMBERS_EVERY_MS, () => ask(NUMBERS, {}, { withinMs: 5_000 }), {
  answered: showNumbers,
  failed: fail,
});
new Poll(NUMBERS_EVERY_MS, () => ask(PROCESSES, {}, { withinMs: 5_000 }), {
  answered: showProcesses,
});
const slower = new Poll(SLOWER_EVERY_MS, askSlower, { answered: showSlower });
