/**
 * Sends frames of one source and hands on the answers.
 *
 * At most two requests are in flight, so a fleet can work on one frame while the next one travels. There is no queue:
 * a frame is taken from the source when it can be sent, so it is always the newest. An answer older than one already
 * shown is dropped.
 */

import { asFailure } from "./failure.js";
import { Latch } from "./latch.js";

const MOST_IN_FLIGHT = 2;
const LONGEST_PAUSE_S = 8;

export class Loop {
  #source;
  #send;
  #show;
  #fail;
  #freed = new Latch();
  #abort = new AbortController();
  #inFlight = 0;
  #sent = 0;
  #shown = 0;
  #failures = 0;
  #notBefore = 0;
  #isNew = false;
  #isHeld = false;
  #isClosed = false;

  /**
   * @param {object} source see sources.js.
   * @param {{send: Function, show: Function, fail: Function}} edges `send(blob, signal)` asks for detections,
   *   `show(frame, answer)` owns the frame from then on, `fail(failure)` tells.
   */
  constructor(source, { send, show, fail }) {
    this.#source = source;
    this.#send = send;
    this.#show = show;
    this.#fail = fail;
  }

  /** Runs until closed. */
  async run() {
    while (await this.#mayTake()) {
      try {
        const frame = await this.#source.grab();
        if (this.#isClosed || this.#isHeld) frame.release();
        else this.#ask(frame, ++this.#sent);
      } catch (error) {
        // A source that was put away in the middle of a frame has none to give.
        if (!this.#isClosed && !this.#isHeld) this.#failed(error);
      }
    }
  }

  /** Takes nothing from the source until `release`; what is in flight is given up. */
  hold() {
    this.#isHeld = true;
    this.#abort.abort();
    this.#abort = new AbortController();
  }

  release() {
    this.#isHeld = false;
    this.#freed.set();
  }

  close() {
    this.#isClosed = true;
    this.hold();
    this.#freed.set();
    this.#source.changed.set();
  }

  /** Resolves when there is a new frame and room for it; to false when closed. */
  async #mayTake() {
    while (!this.#isClosed) {
      const early = this.#notBefore - performance.now();
      if (this.#isHeld || this.#inFlight >= MOST_IN_FLIGHT) await this.#freed.wait();
      else if (early > 0) await new Promise((resolve) => { setTimeout(resolve, early); });
      else if (this.#isNew) break;
      else {
        await this.#source.changed.wait();
        this.#isNew = true; // whether it may be sent is asked again: the wait may have been long
      }
    }
    this.#isNew = false;
    return !this.#isClosed;
  }

  async #ask(frame, number) {
    const { signal } = this.#abort;
    this.#inFlight += 1;
    try {
      const answer = await this.#send(frame.blob, signal);
      signal.throwIfAborted();
      this.#failures = 0;
      if (number < this.#shown) return frame.release();
      this.#shown = number;
      this.#show(frame, answer);
    } catch (error) {
      frame.release();
      if (!signal.aborted) this.#failed(error);
    } finally {
      this.#inFlight -= 1;
      this.#freed.set();
    }
  }

  #failed(error) {
    const failure = asFailure(error);
    if (failure.retry) this.#retryLater(failure);
    else this.#source.pause();
    this.#fail(failure);
  }

  #retryLater(failure) {
    failure.waitS = failure.retryAfterS ?? Math.min(LONGEST_PAUSE_S, 2 ** this.#failures);
    this.#failures += 1;
    this.#notBefore = performance.now() + failure.waitS * 1000;
    this.#source.nudge();
  }
}
