/** Puts the page together: what the person does on one side, the loop between source and service on the other. */

import { detect } from "./api.js";
import { Controls } from "./controls.js";
import { asFailure, Failure } from "./failure.js";
import { Figures } from "./figures.js";
import { openFile } from "./file.js";
import { Found } from "./found.js";
import { listenForFiles } from "./inputs.js";
import { Key } from "./key.js";
import { Loop } from "./loop.js";
import { Painter } from "./painter.js";
import { copyButton, curlSnippet, pythonSnippet } from "./snippets.js";
import { cameraCount, openCamera } from "./video.js";
import { View } from "./view.js";

const NOT_A_FILE = new Failure("That was not a file", "Save the picture first, then drop or choose it.");

class Page {
  #view = new View(document);
  #painter = new Painter(this.#view.canvas, this.#view.stage);
  #found = new Found(this.#view.found);
  #figures = new Figures(this.#view.figures);
  #controls = new Controls(this.#view.selection, () => this.#ask());
  #key = new Key();
  #source = null;
  #loop = null;
  #opened = 0;
  #isPaused = false;
  #isSuspended = false;

  start() {
    const { choose, camera, pause, close, switchCamera } = this.#view.buttons;
    listenForFiles({ choose, file: this.#view.file, stage: this.#view.stage }, (file) => this.#openFile(file));
    camera.addEventListener("click", () => this.#open(openCamera));
    switchCamera.addEventListener("click", () => this.#attempt(this.#source.turn()));
    pause.addEventListener("click", () => (this.#isPaused ? this.#resume() : this.#pause()));
    close.addEventListener("click", () => {
      this.#close();
      choose.focus(); // the pressed button is gone
    });
    this.#view.listenForKey((key) => this.#useKey(key));
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#suspend() : this.#wake()));
    for (const { button, code } of this.#view.snippets) copyButton(button, code, (line) => this.#view.say(line));
    this.#writeSnippets();
    this.#view.started();
  }

  #openFile(file) {
    if (!file) return this.#view.tell(NOT_A_FILE);
    return this.#open(() => openFile(file, this.#view.limits));
  }

  /** Replaces the source; of several opened at once the last one counts. */
  async #open(opener) {
    this.#close();
    const turn = ++this.#opened;
    this.#view.busy(true);
    try {
      const source = await opener();
      if (turn === this.#opened) this.#begin(source);
      else source.close();
    } catch (error) {
      if (turn === this.#opened) this.#fail(error);
    } finally {
      if (turn === this.#opened) this.#view.busy(false);
    }
  }

  #begin(source) {
    this.#source = source;
    this.#figures.start(source.live);
    this.#view.show(source);
    if (source.first) this.#painter.show({ bitmap: source.first, release() {} }, []);
    source.onLost = (failure) => {
      this.#close();
      this.#view.tell(failure);
    };
    if (source.turn) this.#offerOtherCamera(source);
    this.#writeSnippets();
    this.#loop = new Loop(source, {
      send: (blob, signal) => detect(blob, this.#controls.query(), this.#key.value, signal),
      show: (frame, answer) => this.#show(frame, answer),
      fail: (failure) => this.#fail(failure),
    });
    this.#loop.run();
    if (document.hidden) this.#suspend();
  }

  async #offerOtherCamera(camera) {
    const isAlone = (await cameraCount()) < 2;
    if (camera === this.#source) this.#view.buttons.switchCamera.hidden = isAlone;
  }

  #show(frame, answer) {
    this.#painter.show(frame, answer.detections);
    this.#found.show(this.#source.name, answer.detections, this.#source.live);
    this.#figures.record(answer);
    this.#view.forgive();
  }

  #fail(error) {
    const failure = asFailure(error);
    if (failure.retry) this.#figures.pause();
    else this.#rest();
    if (failure.wantsKey) this.#key.keep("");
    this.#view.tell(failure);
  }

  #useKey(key) {
    this.#key.keep(key);
    this.#view.forgive();
    this.#writeSnippets();
    if (this.#source?.live) this.#resume();
    else this.#source?.nudge();
  }

  /** There will be no answer by itself: what is still shown belongs to other settings. */
  #rest() {
    if (!this.#source) return;
    this.#found.clear();
    if (this.#source.live) this.#markPaused(true);
    else this.#painter.show({ bitmap: this.#source.first, release() {} }, []);
  }

  #ask() {
    this.#writeSnippets();
    this.#source?.nudge();
  }

  #pause() {
    this.#source.pause();
    this.#markPaused(true);
  }

  #resume() {
    this.#markPaused(false);
    this.#attempt(this.#source.resume());
  }

  #markPaused(isPaused) {
    this.#isPaused = isPaused;
    this.#view.paused(isPaused);
    if (isPaused) this.#figures.pause();
  }

  /** Nobody looks: nothing is sent, and the camera is let go of. */
  #suspend() {
    if (!this.#source?.live || this.#isSuspended) return;
    this.#isSuspended = true;
    this.#loop.hold();
    this.#source.suspend();
    this.#figures.pause();
  }

  #wake() {
    if (!this.#isSuspended) return;
    this.#isSuspended = false;
    this.#loop.release();
    if (!this.#isPaused) this.#attempt(this.#source.resume());
  }

  async #attempt(step) {
    const source = this.#source;
    try {
      await step;
    } catch (error) {
      if (source === this.#source) this.#fail(error);
    }
  }

  #close() {
    this.#opened += 1;
    this.#loop?.close();
    this.#painter.clear();
    this.#found.clear();
    this.#source?.close();
    this.#source = this.#loop = null;
    this.#isSuspended = false;
    this.#markPaused(false);
    this.#figures.start(false);
    this.#view.clear();
    this.#writeSnippets();
  }

  #writeSnippets() {
    const name = this.#source?.snippetName ?? "picture.jpg";
    const [curl, python] = this.#view.snippets;
    curl.code.textContent = curlSnippet(this.#controls.query(), name, this.#key.value !== "");
    python.code.textContent = pythonSnippet(this.#controls.parameters(), name, this.#key.value !== "");
  }
}

new Page().start();
