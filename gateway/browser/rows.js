// The notifications on the page: added on top, changed in place, taken away, and never a jump for
// whoever reads further down or has the focus among them.

import { make, setText } from "./dom.js";
import { ago, moment } from "./words.js";

const ROWS_MAX = 300; // older ones leave the page when new ones come, and can be loaded again
const LONG_CHARACTERS = 500;
const LONG_LINES = 6;
const NEAR_TOP_PX = 8;

const STATUS = {
  QUEUED: ["on its way", ""],
  RETRYING: ["trying again", "warn"],
  FAILED: ["could not be sent", "bad"],
  SUPPRESSED: ["not sent", ""],
  UNKNOWN: ["unknown", ""],
};

export class Rows {
  #list;
  #act; // {read(notification), mute(notification)}
  #rows = new Map(); // by notification id
  #most = ROWS_MAX;
  trimmed = false; // whether some that were loaded are no longer here

  constructor(list, act) {
    this.#list = list;
    this.#act = act;
  }

  get size() {
    return this.#rows.size;
  }

  get ids() {
    return [...this.#rows.keys()];
  }

  /** The paging cursor of the oldest here. */
  get oldestCursor() {
    return this.#rows.get(this.#list.lastElementChild?.dataset.id)?.cursor ?? null;
  }

  /** When the topmost was posted, or null. */
  get topTime() {
    const row = this.#rows.get(this.#list.firstElementChild?.dataset.id);
    return row ? Date.parse(row.notification.createdAt) : null;
  }

  get(id) {
    return this.#rows.get(id)?.notification;
  }

  /** Exactly these, newest first. */
  replace(edges) {
    const ids = new Set(edges.map(({ node }) => node.id));
    this.#keepingPlace(() => {
      for (const id of [...this.#rows.keys()]) if (!ids.has(id)) this.#remove(id);
      edges.forEach(({ node, cursor }, at) => {
        const { root } = this.#set(node, cursor);
        if (this.#list.children[at] !== root)
          this.#list.insertBefore(root, this.#list.children[at] ?? null);
      });
    });
    this.#most = Math.max(ROWS_MAX, edges.length);
    this.trimmed = false;
  }

  /**
   * What is older than `after`, the oldest here when it was asked for. If that has left the page
   * meanwhile, there would be a hole: then nothing, and false.
   */
  append(edges, after) {
    if (after !== this.oldestCursor) return false;
    for (const { node, cursor } of edges) {
      if (!this.#rows.has(node.id)) this.#list.append(this.#set(node, cursor).root);
    }
    this.#most = Math.max(this.#most, this.size);
    this.trimmed = false;
    return true;
  }

  /** What happened, in order. Tells which are new here, and whether they came in above the view. */
  apply(events) {
    const added = [];
    const above = this.#keepingPlace(() => {
      for (const event of events) {
        if (event.__typename === "NotificationRemoved") this.#remove(event.id);
        else if (event.__typename === "NotificationUpdated") this.change(event.notification);
        else if (event.__typename === "NotificationAdded" && this.#add(event))
          added.push(event.notification);
      }
    });
    return { added, above };
  }

  /** Newest state of one that is here. */
  change(notification) {
    const row = this.#rows.get(notification.id);
    if (row) this.#fill(row, { ...row.notification, ...notification });
  }

  tick() {
    const now = Date.now();
    for (const row of this.#rows.values()) showTime(row, now);
  }

  #add({ notification, cursor }) {
    const known = this.#rows.has(notification.id);
    const row = this.#set(notification, cursor);
    if (known) return false;
    row.root.classList.add("new");
    this.#list.prepend(row.root);
    while (this.size > this.#most) {
      this.#remove(this.#list.lastElementChild.dataset.id);
      this.trimmed = true;
    }
    return true;
  }

  #set(notification, cursor) {
    let row = this.#rows.get(notification.id);
    if (!row) {
      row = this.#made(notification);
      this.#rows.set(notification.id, row);
    }
    row.cursor = cursor;
    this.#fill(row, notification);
    return row;
  }

  #remove(id) {
    const row = this.#rows.get(id);
    if (!row) return;
    if (row.root.contains(document.activeElement)) {
      const neighbour = row.root.nextElementSibling ?? row.root.previousElementSibling;
      (neighbour?.querySelector("button") ?? document.getElementById("main")).focus({
        preventScroll: true,
      });
    }
    row.root.remove();
    this.#rows.delete(id);
  }

  /** Changes the list; true where something was looked at and stayed where it was. */
  #keepingPlace(change) {
    const focused = document.activeElement?.closest("#rows > .row");
    if (!focused && window.scrollY <= NEAR_TOP_PX) {
      change();
      return false;
    }
    const seen =
      focused ?? [...this.#list.children].find((row) => row.getBoundingClientRect().bottom > 0);
    const before = seen?.getBoundingClientRect().top;
    change();
    if (seen?.isConnected)
      window.scrollBy({ top: seen.getBoundingClientRect().top - before, behavior: "instant" });
    return seen !== undefined;
  }

  #made(notification) {
    const { id, authorId } = notification;
    const titleId = `title-${id}`;
    const row = {
      read: make("button", { type: "button", class: "plain", "aria-describedby": titleId }),
      time: make("time", {
        datetime: notification.createdAt,
        title: moment(Date.parse(notification.createdAt)),
      }),
      status: make("span", { class: "chip", hidden: true }),
      unread: make("span", { class: "spoken" }),
      content: make("p", { class: "content", dir: "auto" }),
    };
    row.read.addEventListener("click", () => this.#act.read(row.notification));
    const mute = make(
      "button",
      { type: "button", class: "plain" },
      "Mute ",
      make("bdi", {}, shortened(authorId)),
    );
    mute.addEventListener("click", () => this.#act.mute(row.notification));
    row.acts = make("div", { class: "acts" }, row.read, mute);
    const title = make("h3", { id: titleId }, make("bdi", {}, authorId), row.unread);
    const head = make("div", { class: "head" }, title, row.time, row.status);
    const mark = make("span", { class: "mark", "aria-hidden": "true" });
    row.root = make(
      "li",
      { class: "row", "data-id": id },
      avatar(authorId),
      make("div", {}, head, row.content, row.acts),
      mark,
    );
    return row;
  }

  #fill(row, notification) {
    row.notification = notification;
    const { authorId, content, read, status } = notification;
    row.root.classList.toggle("unread", !read);
    setText(row.unread, read ? "" : " (unread)");
    setText(row.read, read ? "Mark as unread" : "Mark as read");
    const text = content.startsWith(`New post from ${authorId}: `)
      ? content.slice(16 + authorId.length)
      : content;
    if (row.text !== text) showContent(row, text);
    const [words, kind] = STATUS[status] ?? ["", ""];
    row.status.hidden = !words;
    row.status.className = `chip ${kind}`;
    setText(row.status, words);
    showTime(row, Date.now());
  }
}

function showContent(row, text) {
  row.text = text;
  setText(row.content, text);
  row.all?.remove();
  const long =
    text.length > LONG_CHARACTERS || text.split("\n", LONG_LINES + 1).length > LONG_LINES;
  row.content.classList.toggle("short", long);
  if (!long) return;
  row.all = make(
    "button",
    { type: "button", class: "plain", "aria-expanded": "false" },
    "Show all of it",
  );
  row.all.addEventListener("click", () => {
    const short = row.content.classList.toggle("short");
    row.all.setAttribute("aria-expanded", String(!short));
    setText(row.all, short ? "Show all of it" : "Show less of it");
  });
  row.acts.prepend(row.all);
}

function showTime(row, now) {
  setText(row.time, ago(Date.parse(row.notification.createdAt), now));
}

const shortened = (text) => (text.length > 40 ? `${[...text].slice(0, 39).join("")}…` : text);

/** A disc with the first letter and the last digits, in a colour always the same for an author. */
function avatar(authorId) {
  const [first] = authorId;
  const [digits = ""] = /\d{1,2}$/.exec(authorId.slice(1)) ?? [];
  const sum = [...authorId].reduce((so, letter) => (so * 31 + letter.codePointAt(0)) % 9_973, 7);
  const text = first.toUpperCase() + digits;
  const element = make("span", { class: "avatar", "aria-hidden": "true" }, text);
  // By the golden angle, so that neighbours differ.
  element.style.setProperty("--hue", String(Math.round(sum * 137.5) % 360));
  return element;
}
