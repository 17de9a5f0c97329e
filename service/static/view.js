/** The page's elements by what they are for, and the parts of it that only appear and disappear. */

export class View {
  #root;

  /** @param {Document} root */
  constructor(root) {
    this.#root = root;
    this.canvas = this.#get("canvas");
    this.stage = this.#get("stage");
    this.file = this.#get("file");
    this.selection = this.#get("selection");
    this.buttons = {
      choose: this.#get("choose"),
      camera: this.#get("camera"),
      switchCamera: this.#get("switch-camera"),
      pause: this.#get("pause"),
      close: this.#get("close"),
    };
    this.snippets = ["curl", "python"].map((name) => ({ button: this.#get(`copy-${name}`), code: this.#get(name) }));
  }

  /** The service's limits on one picture. */
  get limits() {
    const { maxBodyBytes, maxPixels, maxSide } = this.#root.body.dataset;
    return { maxBodyBytes: Number(maxBodyBytes), maxPixels: Number(maxPixels), maxSide: Number(maxSide) };
  }

  get found() {
    return {
      summary: this.#get("summary"),
      announcement: this.#get("announcement"),
      list: this.#get("found"),
      none: this.#get("found-none"),
      scroll: this.#get("found-scroll"),
      more: this.#get("found-more"),
      canvas: this.canvas,
    };
  }

  get figures() {
    const stages = ["network", "decode", "queue", "infer", "post", "total"];
    return {
      fps: this.#get("fps"),
      timeline: this.#get("timeline"),
      speedNote: this.#get("speed-note"),
      instances: this.#get("instances"),
      instancesNote: this.#get("instances-note"),
      ms: Object.fromEntries(stages.map((name) => [name, this.#get(`ms-${name}`)])),
    };
  }

  started() {
    this.#get("not-started").remove();
  }

  busy(isBusy) {
    this.stage.setAttribute("aria-busy", String(isBusy));
  }

  /** Shows that a source is there. */
  show(source) {
    this.#get("source-name").textContent = [source.name, source.note].filter(Boolean).join(" · ");
    this.#occupied(true);
    this.#get("summary").textContent = "Waiting for the answer…";
    this.buttons.pause.hidden = !source.live;
    this.#get("headline").hidden = !source.live;
  }

  clear() {
    this.#occupied(false);
    this.buttons.pause.hidden = true;
    this.#get("headline").hidden = true;
    this.buttons.switchCamera.hidden = true;
    this.forgive();
  }

  paused(isPaused) {
    this.buttons.pause.textContent = isPaused ? "Resume" : "Pause";
  }

  /** Tells a failure; the same one again is not announced again. */
  tell({ title, detail, footnote, waitS, wantsKey }) {
    const again = waitS === undefined ? "" : ` Trying again in ${Math.ceil(waitS)} s.`;
    const texts = { "message-title": `${title}.`, "message-detail": detail + again, "message-footnote": footnote };
    for (const [id, text] of Object.entries(texts)) {
      if (this.#get(id).textContent !== text) this.#get(id).textContent = text;
    }
    this.#get("message").hidden = false;
    this.#get("key-form").hidden = !wantsKey;
  }

  /** @param {(key: string) => void} onKey called with each key that the person gives. */
  listenForKey(onKey) {
    this.#get("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const field = this.#get("key");
      const key = field.value.trim();
      field.value = "";
      if (key) onKey(key);
    });
  }

  /** Takes the failure back. */
  forgive() {
    this.#get("message").hidden = true;
    this.#get("key-form").hidden = true;
  }

  /** Tells screen readers. */
  say(line) {
    this.#get("announcement").textContent = line;
  }

  #occupied(isOccupied) {
    this.stage.dataset.state = isOccupied ? "occupied" : "empty";
    this.canvas.hidden = !isOccupied;
    this.#get("invitation").hidden = isOccupied;
    this.#get("caption").hidden = !isOccupied;
    this.buttons.close.hidden = !isOccupied;
  }

  #get(id) {
    return this.#root.getElementById(id);
  }
}
