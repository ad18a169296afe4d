// What the page says of its connection: in the bar at the top, and aloud where it changes.

import { byId, setState, setText } from "./dom.js";
import { wholeDuration } from "./words.js";

const WORDS = {
  loading: "Connecting",
  live: "Live",
  trying: "Reconnecting …",
  refused: "Not connected",
};

export class Connection {
  #name = "loading";
  #until = 0;
  #was = "new"; // or live, or lost

  constructor(now) {
    byId("state-now").addEventListener("click", now);
    setInterval(() => this.#tell(), 250);
  }

  /** The states of `Session`. */
  show(name, { until = 0, why = "" } = {}) {
    // Loading anew over a connection that is there is nothing to worry anyone with.
    if (name === "loading" && this.#was !== "new") return;
    this.#name = name;
    this.#until = until;
    setState(byId("state"), { live: "live", loading: "" }[name] ?? "lost");
    byId("state").title = why;
    if (name !== "waiting" && byId("state-now") === document.activeElement)
      byId("main").focus({ preventScroll: true });
    byId("state-now").hidden = name !== "waiting";
    this.#tell();
    this.#sayChange(name);
  }

  #sayChange(name) {
    if (name === "live") {
      if (this.#was === "lost") say("Connected again");
      this.#was = "live";
    } else if (name === "waiting" && this.#was === "live") {
      say("The connection is lost; reconnecting");
      this.#was = "lost";
    }
  }

  #tell() {
    const left = Math.ceil(Math.max(0, this.#until - performance.now()) / 1000);
    setText(byId("state-text"), WORDS[this.#name] ?? `Reconnecting in ${wholeDuration(left)}`);
  }
}

const say = (text) => setText(byId("state-spoken"), text);
