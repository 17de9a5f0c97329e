/** A wish to go on that is remembered until somebody waits for it; many wishes are one. */
export class Latch {
  #isSet = false;
  #wake = () => {};

  set() {
    this.#isSet = true;
    this.#wake();
  }

  /** Resolves once it is set, and takes that back. For one waiter. */
  async wait() {
    if (!this.#isSet) await new Promise((resolve) => { this.#wake = resolve; });
    this.#isSet = false;
  }
}
