// What was done, told at the bottom of the page, and how to undo it.

import { byId, setText } from "./dom.js";

export class Notices {
  #undo = null;

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
  }

  #close() {
    const focused = byId("notice").contains(document.activeElement);
    byId("notice").hidden = true;
    if (focused) byId("main").focus();
  }
}
