/** The API key that the person gave: it stays in this tab, and goes nowhere but into the head of a detection request. */

const STORED_AS = "framefleet-key";

export class Key {
  #value = "";

  constructor() {
    try {
      this.#value = sessionStorage.getItem(STORED_AS) ?? "";
    } catch { /* a browser that keeps nothing: the key is asked for again after a reload */ }
  }

  get value() {
    return this.#value;
  }

  keep(value) {
    this.#value = value;
    try {
      if (value) sessionStorage.setItem(STORED_AS, value);
      else sessionStorage.removeItem(STORED_AS);
    } catch { /* as above */ }
  }
}
