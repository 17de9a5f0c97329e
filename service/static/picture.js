/** A source of one frame: a picture file, sent as it is wherever the service reads it as it is. */

import { Encoder, fitting } from "./encode.js";
import { orientation } from "./exif.js";
import { Failure } from "./failure.js";
import { Latch } from "./latch.js";

const LONGEST_SIDE = 4096;
const QUALITY = 0.92;
const HEAD_BYTES = 256 * 1024;

/**
 * @param {File} file
 * @param {{maxBodyBytes: number, maxPixels: number, maxSide: number}} limits the service's.
 * @returns a source, see video.js for its members.
 */
export async function openPicture(file, limits) {
  const bitmap = await createImageBitmap(file).catch(() => { throw unreadable(file); });
  const note = await whyEncoded(file, bitmap, limits);
  const picture = note ? await encoded(bitmap) : { blob: file, bitmap };
  const changed = new Latch();
  changed.set();
  return {
    name: file.name,
    note,
    snippetName: note || !file.name ? "picture.jpg" : file.name,
    live: false,
    changed,
    first: picture.bitmap,
    grab: async () => ({ ...picture, release() {} }),
    nudge: () => changed.set(),
    pause() {},
    suspend() {},
    async resume() { changed.set(); },
    close: () => picture.bitmap.close(),
  };
}

function unreadable(file) {
  return new Failure(
    `${file.name || "This file"} cannot be shown`,
    "It is damaged, or of a kind this browser does not read. JPEG and PNG always work.",
  );
}

/** Why the picture is not sent as it is; empty where it is. */
async function whyEncoded(file, { width, height }, limits) {
  const head = await file.slice(0, HEAD_BYTES).arrayBuffer();
  const start = new Uint8Array(head, 0, Math.min(4, head.byteLength)).join();
  const isJpeg = start.startsWith("255,216,255");
  if (!isJpeg && start !== "137,80,78,71") return "Sent as JPEG.";
  const isTooLarge =
    file.size > limits.maxBodyBytes ||
    width * height > limits.maxPixels ||
    Math.max(width, height) > limits.maxSide;
  if (isTooLarge) return "Sent smaller.";
  return isJpeg && orientation(head) !== 1 ? "Sent upright: the service takes pixels as they are stored." : "";
}

async function encoded(bitmap) {
  const made = await new Encoder().encode(bitmap, fitting(bitmap.width, bitmap.height, LONGEST_SIDE), QUALITY);
  bitmap.close();
  return made;
}
