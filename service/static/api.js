/** One detection request: a picture out; what was found, how long it took and who answered back. */

import { Failure, failureOf, noAnswer } from "./failure.js";

const LONGEST_MS = 20_000;

/** Where detections are asked for; relative, so that the page works under any path. */
export function address(query) {
  return new URL(`v1/detect?${query}`, document.baseURI);
}

/**
 * @typedef {object} Answer
 * @property {{label: string, class_id: number, score: number, box: number[]}[]} detections boxes in px of the picture.
 * @property {{decode: number, queue: number, infer: number, post: number}} timingsMs
 * @property {number} roundTripMs from before the request was sent until its answer was read.
 * @property {string} instance who answered.
 */

/**
 * @param {Blob} picture JPEG or PNG.
 * @param {URLSearchParams} query
 * @param {string} key API key; empty sends none.
 * @param {AbortSignal} signal
 * @returns {Promise<Answer>} rejects with a Failure, or with whatever aborted the signal.
 */
export async function detect(picture, query, key, signal) {
  const began = performance.now();
  const { response, text } = await exchange(address(query), picture, key, signal);
  const roundTripMs = performance.now() - began;
  if (!response.ok) throw failureOf(response, text, key !== "");
  const document = parsed(text);
  return {
    detections: document.detections,
    timingsMs: document.timings_ms,
    roundTripMs,
    instance: response.headers.get("X-Instance") ?? "unnamed",
  };
}

async function exchange(url, body, key, signal) {
  const limit = new AbortController();
  const abort = () => limit.abort();
  const timer = setTimeout(abort, LONGEST_MS);
  signal.addEventListener("abort", abort);
  try {
    const headers = { Accept: "application/json", "Content-Type": body.type || "application/octet-stream" };
    if (key) headers.Authorization = `Bearer ${key}`;
    const response = await fetch(url, { method: "POST", body, headers, cache: "no-store", signal: limit.signal });
    return { response, text: await response.text() };
  } catch {
    signal.throwIfAborted();
    throw noAnswer(limit.signal.aborted);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  }
}

function parsed(text) {
  try {
    const document = JSON.parse(text);
    if (Array.isArray(document.detections) && document.timings_ms) return document;
  } catch { /* the same words as for JSON of another shape */ }
  throw new Failure("The answer makes no sense to this page", "Reload the page: the service may have changed.");
}
