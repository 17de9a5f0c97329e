/** Draws a frame and its boxes, fitted into the stage and sharp on every screen. */

const FIRST_HUE = 0.4; // the colours are those of the service's own annotated pictures
const GOLDEN_RATIO = 0.618034;
const FONT = "600 13px system-ui, sans-serif";
const TAG_HEIGHT = 20;
const TAG_MARGIN = 5;
const LINE = 2;
const HALO = "rgb(0 0 0 / 0.55)";

/** The colour of a class as [red, green, blue]. */
export function classColour(classId) {
  const hue = ((FIRST_HUE + classId * GOLDEN_RATIO) % 1) * 6;
  const channel = (shift) => {
    const k = (shift + hue) % 6;
    return Math.round(255 * 0.95 * (1 - 0.8 * Math.max(0, Math.min(k, 4 - k, 1))));
  };
  return [channel(5), channel(3), channel(1)];
}

export class Painter {
  #canvas;
  #stage;
  #frame = null;
  #detections = [];

  /** @param {HTMLCanvasElement} canvas @param {HTMLElement} stage what the canvas is fitted into. */
  constructor(canvas, stage) {
    this.#canvas = canvas;
    this.#stage = stage;
    new ResizeObserver(() => this.#draw()).observe(stage);
  }

  /**
   * Shows a frame, which it owns from now on.
   * @param {{bitmap: ImageBitmap, release: Function}} frame
   * @param {{label: string, class_id: number, score: number, box: number[]}[]} detections
   */
  show(frame, detections) {
    const previous = this.#frame;
    this.#frame = frame;
    this.#detections = [...detections].reverse(); // the best score is drawn last, on top
    this.#draw();
    previous?.release();
  }

  clear() {
    this.#frame?.release();
    this.#frame = null;
    this.#detections = [];
  }

  #draw() {
    if (!this.#frame || this.#stage.clientWidth === 0) return;
    const { bitmap } = this.#frame;
    const fit = Math.min(this.#stage.clientWidth / bitmap.width, this.#stage.clientHeight / bitmap.height);
    const [width, height] = [bitmap.width * fit, bitmap.height * fit];
    const sharpness = window.devicePixelRatio || 1;
    this.#resize(width, height, sharpness);
    const context = this.#canvas.getContext("2d", { alpha: false });
    context.setTransform(sharpness, 0, 0, sharpness, 0, 0);
    context.drawImage(bitmap, 0, 0, width, height);
    const placed = this.#detections.map((found) => ({ ...found, at: found.box.map((side) => side * fit) }));
    for (const found of placed) drawBox(context, found);
    for (const found of placed) drawTag(context, found, width, height);
  }

  #resize(width, height, sharpness) {
    const size = { width: Math.max(1, Math.round(width * sharpness)), height: Math.max(1, Math.round(height * sharpness)) };
    if (this.#canvas.width !== size.width || this.#canvas.height !== size.height) Object.assign(this.#canvas, size);
    this.#canvas.style.width = `${width}px`;
    this.#canvas.style.height = `${height}px`;
  }
}

function drawBox(context, { at: [left, top, right, bottom], class_id: classId }) {
  for (const [style, width] of [[HALO, LINE + 2], [css(classColour(classId)), LINE]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.strokeRect(left, top, right - left, bottom - top);
  }
}

function drawTag(context, { at: [left, top], label, score, class_id: classId }, width, height) {
  context.font = FONT;
  const text = fittingText(context, label, score, width - 2 * TAG_MARGIN);
  const tagWidth = context.measureText(text).width + 2 * TAG_MARGIN;
  const x = Math.max(0, Math.min(left - LINE / 2, width - tagWidth));
  const above = top - TAG_HEIGHT;
  const y = above >= 0 ? above : Math.max(0, Math.min(top, height - TAG_HEIGHT));
  const colour = classColour(classId);
  context.fillStyle = css(colour);
  context.fillRect(x, y, tagWidth, TAG_HEIGHT);
  context.fillStyle = readableOn(colour);
  context.textBaseline = "middle";
  context.fillText(text, x + TAG_MARGIN, y + TAG_HEIGHT / 2 + 0.5);
}

/** `label score`, with the label cut until it fits. */
function fittingText(context, label, score, width) {
  const number = score.toFixed(2);
  let shown = label;
  let text = `${shown} ${number}`;
  while (shown && context.measureText(text).width > width) {
    shown = shown.slice(0, -1);
    text = shown ? `${shown}… ${number}` : number;
  }
  return text;
}

function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}

function readableOn([red, green, blue]) {
  return 0.299 * red + 0.587 * green + 0.114 * blue > 120 ? "#000" : "#fff";
}
