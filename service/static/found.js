/** Says what was found: in a line, in a list, and to screen readers at a pace they can follow. */

import { classColour } from "./painter.js";

const ROWS = 50;
const LABELS = 4;
const QUIET_MS = 3000;

/** What was found, in one line: "3 boxes: 2 face, 1 person". */
export function summary(detections) {
  if (detections.length === 0) return "Nothing found";
  if (detections.length === 1) return `1 box: ${detections[0].label} ${detections[0].score.toFixed(2)}`;
  const counts = new Map();
  for (const { label } of detections) counts.set(label, (counts.get(label) ?? 0) + 1);
  const named = [...counts].slice(0, LABELS).map(([label, count]) => `${count} ${label}`).join(", ");
  const unnamed = counts.size > LABELS ? ` and ${counts.size - LABELS} more classes` : "";
  return `${detections.length} boxes: ${named}${unnamed}`;
}

/** A line of a live source without its scores, which change with every frame. */
function steadySummary(detections) {
  return detections.length === 1 ? `1 box: ${detections[0].label}` : summary(detections);
}

export class Found {
  #elements;
  #lastSaid = "";
  #toSay = "";
  #timer = 0;

  /** @param {Record<string, HTMLElement>} elements summary, announcement, list, none, scroll, more, canvas. */
  constructor(elements) {
    this.#elements = elements;
  }

  show(name, detections, isLive) {
    const line = summary(detections);
    this.#elements.summary.textContent = line;
    this.#elements.canvas.setAttribute("aria-label", `${name}: ${line}`);
    this.#list(detections);
    this.#say(isLive ? steadySummary(detections) : line);
  }

  clear() {
    this.#elements.summary.textContent = "";
    this.#elements.announcement.textContent = "";
    this.#elements.canvas.setAttribute("aria-label", "No answer yet");
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#lastSaid = this.#toSay = "";
    this.#list([]);
  }

  #list(detections) {
    const { list, none, scroll, more } = this.#elements;
    none.hidden = detections.length > 0;
    scroll.hidden = detections.length === 0;
    more.hidden = detections.length <= ROWS;
    more.textContent = `and ${detections.length - ROWS} more`;
    list.replaceChildren(...detections.slice(0, ROWS).map(row));
  }

  /** Says a changed line at once if it was quiet for a while, else the newest one when it has been. */
  #say(line) {
    this.#toSay = line;
    if (this.#timer) return;
    if (line === this.#lastSaid) return;
    this.#elements.announcement.textContent = this.#lastSaid = line;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#say(this.#toSay);
    }, QUIET_MS);
  }
}

function row({ label, class_id: classId, score, box }) {
  const line = document.createElement("tr");
  const name = Object.assign(document.createElement("th"), { scope: "row" });
  const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
  swatch.setAttribute("aria-hidden", "true");
  swatch.style.background = `rgb(${classColour(classId).join(" ")})`;
  name.append(swatch, label);
  line.append(name, cell(score.toFixed(2)), cell(box.map(Math.round).join(", ")));
  return line;
}

function cell(text) {
  return Object.assign(document.createElement("td"), { textContent: text });
}
