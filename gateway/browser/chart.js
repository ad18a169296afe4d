// A small line chart of the last minutes.

import { make, makeSvg, setText } from "./dom.js";
import { ago, wholeDuration } from "./words.js";

const HEIGHT = 152;
const SHORTEST_MS = 60_000;
const LONGEST_MS = 300_000;
const HOLE_MS = 3_500; // without a sample for so long the line is broken
const TELL_EVERY_MS = 10_000; // to who hears the chart rather than sees it

export class Chart {
  #samples = []; // of {at, value}, oldest first
  #shows; // a value as text
  #svg;
  #grid = makeSvg("path", { class: "grid" });
  #area = makeSvg("path", { class: "area" });
  #line = makeSvg("path", { class: "line" });
  #cross = makeSvg("path", { class: "cross" });
  #top = make("span", { class: "top", "aria-hidden": "true" });
  #from = make("span");
  #at = make("span");
  #name;
  #now = 0;
  #toldAt = -Infinity;
  #pointed = null; // where the pointer is, from 0 to 1

  constructor(figure, name, shows) {
    this.#name = name;
    this.#shows = shows;
    this.#svg = makeSvg(
      "svg",
      { role: "img", "aria-label": name },
      this.#grid,
      this.#area,
      this.#line,
      this.#cross,
    );
    const times = make("p", { class: "times", "aria-hidden": "true" }, this.#from, this.#at);
    figure.append(this.#svg, this.#top, times);
    this.#svg.addEventListener("pointermove", (event) => this.#point(event));
    this.#svg.addEventListener("pointerleave", () => this.#point(null));
    new ResizeObserver(() => this.draw()).observe(this.#svg);
  }

  add(at, value) {
    this.#samples.push({ at, value });
    const oldest = at - LONGEST_MS;
    // One beyond the edge stays, so that the line begins at the edge.
    while (this.#samples.length > 2 && this.#samples[1].at < oldest) this.#samples.shift();
    this.draw(at);
  }

  /** The highest value shown, in a sentence. */
  get peak() {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    const highest = Math.max(...this.#samples.map(({ value }) => value));
    return `At most ${this.#shows(highest)} in the last ${wholeDuration((last.at - first.at) / 1000)}`;
  }

  /** Up to `now`: where nothing has come for a while, the right of the chart is empty. */
  draw(now = this.#now) {
    const last = this.#samples.at(-1);
    if (!last) return;
    this.#now = Math.max(now, last.at);
    const span = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, this.#now - this.#samples[0].at));
    const start = this.#now - span;
    const top = roundUp(Math.max(1, ...this.#samples.map(({ value }) => value)));
    const width = this.#svg.clientWidth;
    const x = (at) => (Math.max(0, at - start) / span) * width;
    const y = (value) => HEIGHT - (value / top) * HEIGHT;
    const runs = unbroken(this.#samples).map((run) =>
      run.map(({ at, value }) => [x(at), y(value)]),
    );
    this.#line.setAttribute("d", runs.map(lineOf).join(""));
    this.#area.setAttribute("d", runs.map(areaOf).join(""));
    this.#grid.setAttribute(
      "d",
      [0, 0.5, 1].map((part) => `M0 ${y(part * top)}H${width}`).join(""),
    );
    setText(this.#top, this.#shows(top));
    this.#caption(start, span, x);
    this.#tell(last, span);
  }

  /** Below the chart: its time, or what there was where the pointer is. */
  #caption(start, span, x) {
    if (this.#pointed === null) {
      this.#cross.setAttribute("d", "");
      setText(this.#from, `${wholeDuration(span / 1000)} ago`);
      setText(this.#at, "now");
      return;
    }
    const wanted = start + this.#pointed * span;
    const nearest = this.#samples.reduce((best, one) =>
      Math.abs(one.at - wanted) < Math.abs(best.at - wanted) ? one : best,
    );
    this.#cross.setAttribute("d", `M${x(nearest.at)} 0V${HEIGHT}`);
    setText(this.#from, this.#shows(nearest.value));
    setText(this.#at, ago(nearest.at, this.#now));
  }

  #point(event) {
    const box = this.#svg.getBoundingClientRect();
    this.#pointed =
      event && box.width ? Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) : null;
    this.draw();
  }

  /** The chart in a sentence. Changing it with every sample would be noise. */
  #tell(last, span) {
    if (last.at - this.#toldAt < TELL_EVERY_MS) return;
    this.#toldAt = last.at;
    const values = this.#samples.map(({ value }) => value);
    const [low, high] = [Math.min(...values), Math.max(...values)].map(this.#shows);
    this.#svg.setAttribute(
      "aria-label",
      `${this.#name} over the last ${wholeDuration(span / 1000)}: now ${this.#shows(last.value)}, lowest ${low}, highest ${high}`,
    );
  }
}

/** The smallest of 1, 2 and 5 times a power of ten that is no less. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

function unbroken(samples) {
  const runs = [];
  let before = -Infinity;
  for (const sample of samples) {
    if (sample.at - before > HOLE_MS) runs.push([]);
    runs.at(-1).push(sample);
    before = sample.at;
  }
  return runs;
}

const lineOf = (points) =>
  `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;

function areaOf(points) {
  const [first] = points[0];
  const [last] = points.at(-1);
  return `${lineOf(points)}L${last.toFixed(1)} ${HEIGHT}L${first.toFixed(1)} ${HEIGHT}Z`;
}
