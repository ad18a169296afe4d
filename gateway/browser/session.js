// One inbox for as long as the page is open: load a page of it, then stream what comes after, and
// after a lost connection go on from the last event. Where that cannot be, load it anew.

import { Refusal, sentenceOf } from "./ask.js";
import { subscribe } from "./stream.js";

const EVENTS = `subscription InboxEvents($user: ID!, $since: String) {
  inboxEvents(userId: $user, since: $since) {
    __typename
    cursor
    ... on NotificationAdded { notification { ...Shown } }
    ... on NotificationUpdated { notification { ...Shown } }
    ... on NotificationRemoved { id reason }
  }
}`;
/** What is shown of a notification. */
export const SHOWN = "fragment Shown on Notification { id authorId content createdAt read status }";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const CALM_MS = 5_000; // a connection that held so long begins to count failures anew
const LOADS_APART_MS = 1_000;

/**
 * `load(signal)` shows a page and returns its live cursor; `heard(event)` is told what changes;
 * `state(name, more)` is told `loading`, `live`, `waiting` with `until` (in the time of
 * `performance.now()`) and `why`, `trying`, or `refused` with `why`.
 */
export class Session {
  #userId;
  #load;
  #heard;
  #state;
  #cursor = ""; // where to go on; empty: load anew
  #turn = new AbortController(); // ends what is under way
  #wake = () => {};
  #failures = 0;
  #loadedAt = -Infinity;

  constructor(userId, { load, heard, state }) {
    this.#userId = userId;
    this.#load = load;
    this.#heard = heard;
    this.#state = state;
    window.addEventListener("online", () => this.now());
    document.addEventListener("visibilitychange", () => document.hidden || this.now());
  }

  /** Tries at once where it waits to try again. */
  now() {
    this.#wake();
  }

  /** Loads anew, now. */
  reload() {
    this.#cursor = "";
    this.#turn.abort();
    this.#wake();
  }

  async run() {
    for (;;) {
      this.#turn = new AbortController();
      const { signal } = this.#turn;
      const began = performance.now();
      try {
        await this.#once(signal);
        this.#cursor = ""; // Hark ended it, and says with that: load anew
        await this.#apart();
      } catch (error) {
        if (signal.aborted) continue;
        if (performance.now() - began > CALM_MS) this.#failures = 0;
        await this.#recover(error);
      }
    }
  }

  async #once(signal) {
    if (!this.#cursor) {
      this.#state("loading");
      this.#cursor = await this.#load(signal);
      this.#loadedAt = performance.now();
    }
    const variables = { user: this.#userId, since: this.#cursor };
    await subscribe(`${EVENTS} ${SHOWN}`, variables, {
      signal,
      heard: ({ inboxEvents: event }) => this.#take(event),
    });
  }

  #take(event) {
    if (!this.#cursor) return; // all is about to be loaded anew, what happened now with it
    this.#cursor = event.cursor;
    if (event.__typename === "InboxLive") this.#state("live");
    else if (event.__typename === "InboxReset" || event.__typename === "InboxGap") this.#anew();
    else this.#heard(event);
  }

  async #anew() {
    const turn = this.#turn;
    this.#cursor = "";
    await this.#apart();
    turn.abort();
  }

  /** Many resets, one after the other, end in few loads. */
  async #apart() {
    const left = this.#loadedAt + LOADS_APART_MS - performance.now();
    if (left > 0) await new Promise((resolve) => setTimeout(resolve, left));
  }

  async #recover(error) {
    const why = sentenceOf(error);
    if (error instanceof Refusal && !error.passes) {
      if (!this.#cursor) {
        this.#state("refused", { why });
        await new Promise((resolve) => (this.#wake = resolve));
        return;
      }
      this.#cursor = ""; // it is the cursor that is refused
    }
    const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#failures);
    this.#failures += 1;
    // By chance, so that those who lost the same server do not all come back in the same moment.
    await this.#wait(longest * (0.5 + Math.random() / 2), why);
    this.#state("trying");
  }

  async #wait(ms, why) {
    this.#state("waiting", { until: performance.now() + ms, why });
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = () => {};
  }
}
