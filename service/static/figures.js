/** Shows where the time went, how many frames a second were answered, and which instances did the work. */

const STAGES = ["network", "decode", "queue", "infer", "post"];
const MEAN_OF = 10;
const RATE_OVER_MS = 2000;
const SHARES_OF = 100;
const REDRAW_MS = 250; // figures that change faster cannot be read

export class Figures {
  #elements;
  #recent = [];
  #shownAt = [];
  #answeredBy = [];
  #isLive = false;
  #timer = 0;

  /** @param {Record<string, HTMLElement>} elements fps, timeline, speedNote, instances, instancesNote, ms (by stage). */
  constructor(elements) {
    this.#elements = elements;
  }

  /** Begins a new source; who answered so far is kept, it is about the fleet. */
  start(isLive) {
    this.#isLive = isLive;
    this.pause();
    this.#recent = [];
  }

  /** Frames a second are of a source that runs. */
  pause() {
    this.#shownAt = [];
    this.#elements.fps.textContent = "–";
  }

  record(answer) {
    const now = performance.now();
    const served = Object.values(answer.timingsMs).reduce((sum, ms) => sum + ms, 0);
    const timings = { ...answer.timingsMs, network: Math.max(0, answer.roundTripMs - served), total: answer.roundTripMs };
    this.#recent = [...this.#recent, timings].slice(this.#isLive ? -MEAN_OF : -1);
    this.#shownAt = [...this.#shownAt.filter((at) => now - at < RATE_OVER_MS), now];
    this.#answeredBy = [...this.#answeredBy, answer.instance].slice(-SHARES_OF);
    if (!this.#timer) this.#drawSoon();
  }

  /** Draws now, and once more after the pause if answers came in meanwhile. */
  #drawSoon() {
    this.#draw();
    const drawn = this.#recent;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      if (this.#recent !== drawn && this.#recent.length) this.#drawSoon();
    }, REDRAW_MS);
  }

  #draw() {
    const mean = (name) => this.#recent.reduce((sum, timings) => sum + (timings[name] ?? 0), 0) / this.#recent.length;
    const { ms, timeline, fps, speedNote } = this.#elements;
    for (const [index, name] of STAGES.entries()) {
      ms[name].textContent = mean(name).toFixed(1);
      timeline.children[index].style.flexGrow = String(mean(name));
    }
    ms.total.textContent = mean("total").toFixed(1);
    fps.textContent = this.#isLive ? rate(this.#shownAt) : "–";
    const of = this.#recent.length > 1 ? `mean of the last ${this.#recent.length} answers` : "the last answer";
    speedNote.textContent = `Milliseconds, ${of}.`;
    this.#drawInstances();
  }

  #drawInstances() {
    const { instances, instancesNote } = this.#elements;
    const names = [...new Set(this.#answeredBy)].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
    const last = this.#answeredBy.at(-1);
    while (instances.children.length > names.length) instances.lastChild.remove();
    while (instances.children.length < names.length) instances.append(instanceRow());
    for (const [index, name] of names.entries()) {
      const count = this.#answeredBy.filter((other) => other === name).length;
      fillInstance(instances.children[index], name, count / this.#answeredBy.length, name === last);
    }
    instancesNote.textContent = note(names, this.#answeredBy.length);
  }
}

function rate(times) {
  const seconds = (times.at(-1) - times[0]) / 1000;
  return seconds > 0 ? ((times.length - 1) / seconds).toFixed(1) : "–";
}

function note(names, count) {
  const answers = count === 1 ? "the last answer" : `the last ${count} answers`;
  return names.length === 1 ? `One instance gave ${answers}.` : `${names.length} instances share ${answers}.`;
}

function instanceRow() {
  const row = document.createElement("li");
  for (const part of ["name", "share", "gauge"]) {
    row.append(Object.assign(document.createElement("span"), { className: part }));
  }
  row.lastChild.append(document.createElement("span"));
  return row;
}

function fillInstance(row, name, share, isLast) {
  row.classList.toggle("last", isLast);
  const [title, percent, gauge] = row.children;
  title.textContent = name;
  percent.textContent = `${Math.round(share * 100)} %`;
  gauge.firstChild.style.width = `${share * 100}%`;
}
