// Dead letters by cause, and another try for them: a dry run first, then, confirmed, the real one.

import { ask, sentenceOf } from "./ask.js";
import { byId, make, setText } from "./dom.js";
import { inboxUrl } from "./places.js";
import { ago, count, counted } from "./words.js";

const REPLAY = `mutation Replay($group: ID!, $dry: Boolean!) {
  replayDeadLetters(groupId: $group, dryRun: $dry) { replayed skipped { reason count } }
}`;

const SAMPLES_MAX = 4;

const shown = new Map(); // the list items by their group's id
let refresh = () => {};

/** Updates in place: a button that has the focus keeps it. */
export function showLetters(groups, more, changed) {
  refresh = changed;
  const list = byId("letters");
  const ids = new Set(groups.map(({ id }) => id));
  for (const [id, item] of shown) {
    if (ids.has(id)) continue;
    item.root.remove();
    shown.delete(id);
  }
  groups.forEach((group, at) => {
    if (!shown.has(group.id)) shown.set(group.id, emptyItem(group));
    const item = shown.get(group.id);
    fill(item, group);
    if (list.children[at] !== item.root) list.insertBefore(item.root, list.children[at] ?? null);
  });
  showNote(groups.length, more);
}

function showNote(many, more) {
  const note = byId("letters-note");
  note.hidden = many > 0 && !more;
  if (more) setText(note, "There are more causes: hark dead list shows all of them.");
  else setText(note, "Nothing is dead. What fails every attempt is listed here by its cause.");
}

const command = (group) => `hark dead replay ${group.id}`;

function emptyItem(group) {
  const item = {
    count: make("span", { class: "count" }),
    when: make("p"),
    samples: make("p", { class: "samples" }),
  };
  const replay = make(
    "button",
    {
      type: "button",
      class: "button",
      "aria-label": `Replay ${group.error}`,
      onclick: () => openReplay(item.group),
    },
    "Replay …",
  );
  item.root = make(
    "li",
    {},
    make("div", { class: "top" }, make("h3", {}, group.error), item.count),
    item.when,
    item.samples,
    make("div", { class: "act" }, make("code", {}, command(group)), replay),
  );
  return item;
}

function fill(item, group) {
  const now = Date.now();
  item.group = group;
  setText(item.count, `${count(group.count)} dead`);
  const [first, last] = [group.firstAt, group.lastAt].map((time) => ago(Date.parse(time), now));
  setText(item.when, `Channel ${group.channel}. First ${first}, last ${last}.`);
  const samples = JSON.stringify([group.sampleUserIds, group.samplePostIds]);
  if (item.sampled === samples) return;
  item.sampled = samples;
  const people = group.sampleUserIds.map((id) => make("a", { href: inboxUrl(id) }, id));
  const posts = group.samplePostIds.map((id) => make("code", {}, id));
  item.samples.replaceChildren("For ", ...listed(people), " of ", ...listed(posts));
}

function listed(elements) {
  const some = elements
    .slice(0, SAMPLES_MAX)
    .flatMap((element, at) => (at ? [", ", element] : [element]));
  return elements.length > SAMPLES_MAX ? [...some, " and others"] : some;
}

// The dialogue

const dialog = byId("replay");
let asked = null; // the group that the dialogue is about

async function openReplay(group) {
  asked = group;
  setText(byId("replay-error"), group.error);
  setText(byId("replay-command"), command(group));
  byId("replay-do").hidden = true;
  setText(byId("replay-says"), "Looking how many can be tried again …");
  dialog.showModal();
  const done = await replay(group, true);
  if (asked !== group || !done) return;
  setText(
    byId("replay-says"),
    `${counted(done.replayed, "notification")} would be tried again${skippedOf(done)}.`,
  );
  setText(byId("replay-do"), `Replay ${count(done.replayed)}`);
  byId("replay-do").hidden = done.replayed === 0;
}

byId("replay-do").addEventListener("click", async () => {
  const group = asked;
  byId("replay-do").hidden = true;
  dialog.querySelector("button").focus();
  const done = await replay(group, false);
  refresh();
  if (asked === group && done) {
    setText(
      byId("replay-says"),
      `${counted(done.replayed, "notification")} will be tried again${skippedOf(done)}.`,
    );
  }
});

dialog.addEventListener("close", () => {
  asked = null;
});

async function replay(group, dry) {
  try {
    return (await ask(REPLAY, { group: group.id, dry })).replayDeadLetters;
  } catch (error) {
    if (asked === group) setText(byId("replay-says"), sentenceOf(error));
    return null;
  }
}

function skippedOf({ skipped }) {
  if (!skipped.length) return "";
  return `; left as they are: ${skipped.map((one) => `${count(one.count)} ${one.reason}`).join(", ")}`;
}
