// Who does the work, and how many of them.

import { ask, sentenceOf } from "./ask.js";
import { byId, make, setText } from "./dom.js";
import { count, wholeDuration } from "./words.js";

const ORDER = ["supervisor", "gateway", "web", "store", "reader", "worker"];
const WORKERS_MAX = 64;
const SET_WORKERS =
  "mutation SetWorkers($workers: Int!) { setWorkers(workers: $workers) { workers } }";

export function showProcesses({ processes }) {
  const sorted = [...processes].sort(
    (a, b) => ORDER.indexOf(a.role) - ORDER.indexOf(b.role) || a.pid - b.pid,
  );
  const body = byId("processes");
  while (body.rows.length > sorted.length) body.lastElementChild.remove();
  while (body.rows.length < sorted.length) body.append(emptyRow());
  sorted.forEach((process, at) => fill(body.rows[at].cells, process));
}

function emptyRow() {
  const number = () => make("td", { class: "number" }, make("span"));
  return make("tr", {}, make("td"), number(), number(), number());
}

function fill([role, pid, uptime, restarts], process) {
  const seconds = Math.max(0, (Date.now() - Date.parse(process.startedAt)) / 1000);
  setText(role, process.role);
  setText(pid.firstChild, String(process.pid));
  setText(uptime.firstChild, wholeDuration(seconds));
  setText(restarts.firstChild, count(process.restarts));
  restarts.firstChild.classList.toggle("warn", process.restarts > 0);
}

let wanted = null; // null until it is known
let running = false;

/** The number as Hark has it; while it is being changed here, what is wanted here counts. */
export function showWorkers(workers) {
  if (running) return;
  wanted = workers;
  show();
}

function show() {
  setText(byId("workers"), wanted === 1 ? "1 worker" : `${wanted} workers`);
  byId("fewer").setAttribute("aria-disabled", String(wanted <= 1));
  byId("more").setAttribute("aria-disabled", String(wanted >= WORKERS_MAX));
}

/** Several clicks while a change is under way end in one more change. */
async function change(by) {
  if (wanted === null || wanted + by < 1 || wanted + by > WORKERS_MAX) return;
  wanted += by;
  show();
  if (running) return;
  running = true;
  const note = byId("workers-note");
  try {
    for (let told = null; told !== wanted;) {
      told = wanted;
      await ask(SET_WORKERS, { workers: told });
    }
    note.hidden = true;
  } catch (error) {
    note.hidden = false;
    setText(note, `The number of workers was not changed: ${sentenceOf(error)}`);
  }
  running = false;
}

byId("fewer").addEventListener("click", () => change(-1));
byId("more").addEventListener("click", () => change(1));
