// A person's inbox, live.

import { ask, sentenceOf } from "./ask.js";
import { Connection } from "./connection.js";
import { byId, setText } from "./dom.js";
import { Notices } from "./notices.js";
import { userIdOf } from "./places.js";
import { Rows } from "./rows.js";
import { Session, SHOWN } from "./session.js";
import { Unread } from "./unread.js";
import { count, counted } from "./words.js";

const PAGE = 20;
const PAGE_MAX = 100;
const ANEW_MAX = 300; // shown again after a reset; what is older comes by the button
const SHOW_EVERY_MS = 40; // what comes within it is shown together
const NEWS_MS = 5_000;
const OLD_MS = 60_000; // so much older than the newest, one that comes in is not in its place
const SORT_MS = 1_000;

const INBOX = `query Inbox($user: ID!, $first: Int!, $after: String, $unread: Boolean!) {
  inbox(userId: $user, first: $first, after: $after, unreadOnly: $unread) {
    edges { cursor node { ...Shown } }
    pageInfo { hasNextPage }
    unreadCount
    liveCursor
  }
  user(id: $user) { id }
} ${SHOWN}`;
const MARK_READ = `mutation MarkRead($user: ID!, $ids: [ID!]!) {
  done: markRead(userId: $user, notificationIds: $ids) { unreadCount }
}`;
const MARK_UNREAD = `mutation MarkUnread($user: ID!, $ids: [ID!]!) {
  done: markUnread(userId: $user, notificationIds: $ids) { unreadCount }
}`;
const MARK_ALL = `mutation MarkAll($user: ID!, $upTo: String!) {
  done: markAllRead(userId: $user, upTo: $upTo) { unreadCount }
}`;
const MUTE =
  "mutation Mute($user: ID!, $author: ID!) { done: mute(userId: $user, authorId: $author) { changed } }";
const UNMUTE =
  "mutation Unmute($user: ID!, $author: ID!) { done: unmute(userId: $user, authorId: $author) { changed } }";

class Inbox {
  #user;
  #rows = new Rows(byId("rows"), {
    read: (one) => this.#toggle(one),
    mute: (one) => this.#mute(one),
  });
  #notices = new Notices();
  #connection = new Connection(() => this.#session.now());
  #session;
  #unreadOnly = new URLSearchParams(location.search).has("unread");
  #known = true; // whether Hark knows the person
  #hasOlder = false;
  #newest = null; // up to here "all" are marked as read
  #unread;
  #loads = 0;
  #events = []; // heard and not shown yet
  #showTimer = 0;
  #newsTimer = 0;
  #sortTimer = 0;
  #above = 0; // how many new ones wait above the view

  constructor(user) {
    this.#user = user;
    this.#unread = new Unread(user);
    this.#session = new Session(user, {
      load: (signal) => this.#load(signal),
      heard: (event) => this.#hear(event),
      state: (name, more) => this.#showState(name, more),
    });
  }

  open() {
    byId("show-all").addEventListener("click", () => this.#filter(false));
    byId("show-unread").addEventListener("click", () => this.#filter(true));
    byId("mark-all").addEventListener("click", () => this.#markAll());
    byId("load-older").addEventListener("click", () => this.#loadOlder());
    byId("arrived").addEventListener("click", () => this.#toTop());
    window.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    setInterval(() => this.#rows.tick(), 5_000);
    this.#showFilter();
    this.#session.run();
  }

  // Loading

  async #load(signal) {
    const { edges, first, last } = await this.#asMany(signal);
    this.#loads += 1;
    this.#forgetEvents();
    this.#known = first.user !== null;
    this.#hasOlder = last.inbox.pageInfo.hasNextPage;
    this.#newest = edges[0]?.cursor ?? null;
    this.#rows.replace(edges);
    this.#unread.show(first.inbox.unreadCount);
    this.#showList();
    return first.inbox.liveCursor;
  }

  /** As many as are shown, so that who reads further down finds the same again. */
  async #asMany(signal) {
    const wanted = Math.min(ANEW_MAX, Math.max(PAGE, this.#rows.size));
    const variables = { user: this.#user, unread: this.#unreadOnly };
    const edges = [];
    let first = null;
    let last = null;
    do {
      variables.first = Math.min(PAGE_MAX, wanted - edges.length);
      variables.after = edges.at(-1)?.cursor;
      last = await ask(INBOX, variables, { signal });
      first ??= last;
      edges.push(...last.inbox.edges);
    } while (last.inbox.pageInfo.hasNextPage && edges.length < wanted);
    return { edges, first, last };
  }

  async #loadOlder() {
    const load = this.#loads;
    const variables = {
      user: this.#user,
      first: PAGE,
      after: this.#rows.oldestCursor,
      unread: this.#unreadOnly,
    };
    const before = byId("rows").lastElementChild;
    const answer = await this.#try(ask(INBOX, variables));
    if (!answer || load !== this.#loads) return;
    if (!this.#rows.append(answer.inbox.edges, variables.after)) return;
    this.#hasOlder = answer.inbox.pageInfo.hasNextPage;
    this.#showList();
    // Whoever pressed the button by keyboard goes on at the first that came.
    if (byId("older").hidden) before?.nextElementSibling?.querySelector("button")?.focus();
  }

  #filter(unreadOnly) {
    if (this.#unreadOnly === unreadOnly) return;
    this.#unreadOnly = unreadOnly;
    const address = new URL(location.href);
    if (unreadOnly) address.searchParams.set("unread", "1");
    else address.searchParams.delete("unread");
    history.replaceState(null, "", address);
    this.#showFilter();
    this.#session.reload();
  }

  // Events

  #hear(event) {
    this.#events.push(event);
    this.#showTimer ||= setTimeout(() => this.#showEvents(), SHOW_EVERY_MS);
  }

  #forgetEvents() {
    clearTimeout(this.#showTimer);
    this.#showTimer = 0;
    this.#events = [];
  }

  #showEvents() {
    const events = this.#events;
    this.#forgetEvents();
    const newest = events.findLast(({ __typename }) => __typename === "NotificationAdded");
    this.#newest = newest?.cursor ?? this.#newest;
    const topTime = this.#rows.topTime;
    const { added, above } = this.#rows.apply(events.filter((event) => this.#belongs(event)));
    if (added.length) this.#announce(added, above);
    if (added.some(({ createdAt }) => Date.parse(createdAt) < topTime - OLD_MS)) this.#sortSoon();
    if (this.#rows.trimmed) this.#hasOlder = true;
    this.#unread.soon();
    this.#showList();
  }

  /** What was muted and is so no longer comes in as new, and yet belongs further down. */
  #sortSoon() {
    this.#sortTimer ||= setTimeout(() => {
      this.#sortTimer = 0;
      this.#session.reload();
    }, SORT_MS);
  }

  /**
   * Whether it concerns what is shown. What is read while it is shown among the unread stays until
   * the list is loaded anew: it does not vanish under somebody's eyes.
   */
  #belongs(event) {
    return (
      !this.#unreadOnly || event.__typename !== "NotificationAdded" || !event.notification.read
    );
  }

  #announce(added, above) {
    const [one] = added;
    const news =
      added.length === 1 ? `New from ${one.authorId}` : `${count(added.length)} new notifications`;
    setText(byId("news"), news);
    clearTimeout(this.#newsTimer);
    // The same sentence twice is heard twice only where there was nothing in between.
    this.#newsTimer = setTimeout(() => setText(byId("news"), ""), NEWS_MS);
    if (above) this.#showAbove(this.#above + added.length);
  }

  // Marks and mutes

  async #toggle({ id, read }) {
    this.#rows.change({ id, read: !read });
    const done = await this.#try(
      ask(read ? MARK_UNREAD : MARK_READ, { user: this.#user, ids: [id] }),
    );
    if (!done) this.#rows.change({ id, read });
    this.#unread.soon();
  }

  async #markAll() {
    if (!this.#unread.value || !this.#newest) return;
    const { ids } = this.#rows;
    if (!(await this.#try(ask(MARK_ALL, { user: this.#user, upTo: this.#newest })))) return;
    this.#unread.soon();
    if (this.#unreadOnly) this.#session.reload();
    else for (const id of ids) this.#rows.change({ id, read: true });
  }

  async #mute({ authorId }) {
    const variables = { user: this.#user, author: authorId };
    const answer = await this.#try(ask(MUTE, variables));
    if (!answer) return;
    this.#notices.show(`Muted ${authorId}.`, async () => {
      if (!(await this.#try(ask(UNMUTE, variables)))) return;
      this.#notices.show(`${authorId} is no longer muted.`);
      this.#session.reload(); // their earlier posts go where they were, not on top
    });
  }

  /** The answer, or null and a notice. */
  async #try(asking) {
    try {
      return await asking;
    } catch (error) {
      this.#notices.show(sentenceOf(error));
      return null;
    }
  }

  // Showing

  #showFilter() {
    byId("show-all").setAttribute("aria-pressed", String(!this.#unreadOnly));
    byId("show-unread").setAttribute("aria-pressed", String(this.#unreadOnly));
  }

  #showList() {
    const empty = this.#rows.size === 0;
    byId("tools").hidden = empty && !this.#unreadOnly;
    byId("rows").setAttribute("aria-busy", "false");
    byId("rows").hidden = empty;
    byId("older").hidden = empty || !this.#hasOlder;
    byId("empty").hidden = !empty;
    if (empty) this.#showEmpty();
  }

  #showEmpty() {
    if (this.#unreadOnly) showEmpty("Nothing unread", "What comes in appears here by itself.");
    else if (this.#known)
      showEmpty("Nothing here yet", "What the people they follow post appears here by itself.");
    else
      showEmpty("Hark does not know this person", "They follow nobody, and nobody follows them.");
  }

  #showAbove(many) {
    this.#above = many;
    byId("arrived").hidden = many === 0;
    setText(byId("arrived"), `${counted(many, "new one", "new ones")} ↑`);
  }

  #toTop() {
    const [first] = byId("rows").children;
    window.scrollTo({ top: 0 });
    first?.querySelector("button")?.focus({ preventScroll: true });
    this.#showAbove(0);
  }

  #scrolled() {
    if (this.#above && window.scrollY <= 8) this.#showAbove(0);
  }

  #showState(name, more) {
    this.#connection.show(name, more);
    if (name === "live") this.#unread.soon();
    if (name === "refused") {
      this.#rows.replace([]);
      this.#showList();
      showEmpty("There is no such inbox", more.why);
    } else if (name === "waiting" && this.#loads === 0) {
      showEmpty("The inbox cannot be loaded now", more.why);
    }
  }
}

function showEmpty(title, more) {
  setText(byId("empty-title"), title);
  setText(byId("empty-more"), more);
}

function main() {
  let user;
  try {
    user = userIdOf(location);
  } catch {
    showEmpty("There is no such inbox", "The address holds something that is no text in UTF-8.");
    setText(byId("state-text"), "Not connected");
    return;
  }
  setText(byId("user"), user);
  new Inbox(user).open();
}

main();
