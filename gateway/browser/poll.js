// Asking again and again, never twice at once, and not while nobody looks.

/** Calls `ask` every so often while the page is visible. It tells `answered(answer)` or `failed(error)`. */
export class Poll {
  #every;
  #ask;
  #answered;
  #failed;
  #timer = 0;
  #asking = false;
  #again = false;

  constructor(everyMs, ask, { answered, failed = () => {} }) {
    this.#every = everyMs;
    this.#ask = ask;
    this.#answered = answered;
    this.#failed = failed;
    document.addEventListener("visibilitychange", () => this.now());
    this.now();
  }

  /** Asks now; where a question is under way, once more after it. */
  async now() {
    clearTimeout(this.#timer);
    if (document.hidden) return;
    if (this.#asking) {
      this.#again = true;
      return;
    }
    this.#asking = true;
    const began = performance.now();
    await this.#once();
    this.#asking = false;
    const left = this.#again ? 0 : this.#every - (performance.now() - began);
    this.#again = false;
    if (!document.hidden) this.#timer = setTimeout(() => this.now(), Math.max(0, left));
  }

  async #once() {
    let answer;
    try {
      answer = await this.#ask();
    } catch (error) {
      this.#failed(error);
      return;
    }
    this.#answered(answer);
  }
}
