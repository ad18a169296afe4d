// What was done, told at the bottom of the page, and how to undo it.

import { byId, setText } from "./dom.js";

const READ_WITHIN_MS = 8_000; // what can be undone stays until somebody puts it away

export class Notices {
  #undo = null;
  #timer = 0;

  constructor() {
    byId("notice-close").addEventListener("click", () => this.#close());
    byId("notice-undo").addEventListener("click", () => {
      const undo = this.#undo;
      this.#close();
      undo();
    });
  }

  show(text, undo = null) {
    this.#undo = undo;
    setText(byId("notice-text"), text);
    byId("notice-undo").hidden = undo === null;
    byId("notice").hidden = false;
    clearTimeout(this.#timer);
    if (!undo) this.#timer = setTimeout(() => this.#close(), READ_WITHIN_MS);
  }

  #close() {
    const focused = byId("notice").contains(document.activeElement);
    byId("notice").hidden = true;
    if (focused) byId("main").focus();
  }
}
