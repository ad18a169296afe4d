// How many are unread: in the badge and in the title. The number is always the server's, for most
// of what it counts is not on the page.

import { ask } from "./ask.js";
import { byId, setText } from "./dom.js";
import { count } from "./words.js";

const APART_MS = 300;
const UNREAD = "query Unread($user: ID!) { user(id: $user) { unreadCount } }";

export class Unread {
  #user;
  #turn = 0;
  #timer = 0;
  #askedAt = -Infinity;
  value = 0;

  constructor(user) {
    this.#user = user;
  }

  /** Asks after it, soon: not again for each of many events. */
  soon() {
    const left = this.#askedAt + APART_MS - performance.now();
    this.#timer ||= setTimeout(() => this.#ask(), Math.max(0, left));
  }

  /** It is known, from whoever asked last. */
  show(value) {
    this.#turn += 1;
    this.value = value;
    byId("badge").hidden = value === 0;
    setText(byId("badge"), `${count(value)} unread`);
    document.title = `${value ? `(${count(value)}) ` : ""}${this.#user} – Hark`;
    byId("mark-all").setAttribute("aria-disabled", String(value === 0));
  }

  async #ask() {
    this.#timer = 0;
    this.#askedAt = performance.now();
    const turn = ++this.#turn;
    try {
      const { user } = await ask(UNREAD, { user: this.#user });
      if (turn === this.#turn) this.show(user?.unreadCount ?? 0);
    } catch {
      // Nothing answers, and so the connection is lost, too; once it is there again we are asked.
    }
  }
}
