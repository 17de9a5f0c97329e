/**
 * Live sources: a clip, or the camera.
 *
 * A source has `name`, `live`, `changed` (set whenever there is something new to send), `grab()` which gives the frame
 * of now as {blob, bitmap, release()}, `nudge()`, `pause()`, `suspend()` (also lets go of the camera), `resume()` and
 * `close()`.
 */

import { Encoder, fitting } from "./encode.js";
import { Failure } from "./failure.js";
import { Latch } from "./latch.js";

const LONGEST_SIDE = 1280;
const QUALITY = 0.85;

class VideoSource {
  live = true;
  note = "";
  snippetName = "frame.jpg";
  changed = new Latch();
  /** Called with a Failure when there will be no more frames. */
  onLost = () => {};
  video = Object.assign(document.createElement("video"), { muted: true, loop: true, playsInline: true });
  #encoder = new Encoder();
  #closed = false;

  constructor(name) {
    this.name = name;
    this.#watch();
  }

  async grab() {
    const { videoWidth, videoHeight } = this.video;
    const made = await this.#encoder.encode(this.video, fitting(videoWidth, videoHeight, LONGEST_SIDE), QUALITY);
    return { ...made, release: () => made.bitmap.close() };
  }

  /** Has the frame of now sent again, with other settings. */
  nudge() {
    if (this.video.videoWidth) this.changed.set();
  }

  pause() {
    this.video.pause();
  }

  suspend() {
    this.pause();
  }

  async resume() {
    try {
      await this.video.play();
    } catch (error) {
      if (error.name !== "AbortError") throw error; // paused again before it played
    }
  }

  close() {
    this.onLost = () => {};
    this.#closed = true;
    this.suspend();
  }

  /** Sets `changed` at every new frame. */
  #watch() {
    if (this.#closed) return;
    const seen = () => {
      this.nudge();
      this.#watch();
    };
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(seen);
    else requestAnimationFrame(() => (this.video.paused ? this.#watch() : seen()));
  }
}

class Clip extends VideoSource {
  #url;

  constructor(file) {
    super(file.name);
    this.#url = URL.createObjectURL(file);
    this.video.src = this.#url;
    this.video.addEventListener("error", () => this.onLost(unplayable(file.name)));
  }

  close() {
    super.close();
    this.video.removeAttribute("src");
    this.video.load();
    URL.revokeObjectURL(this.#url);
  }
}

class Camera extends VideoSource {
  #facing = "user";
  #isWanted = false;

  async start() {
    this.#isWanted = true;
    const wish = { video: { facingMode: this.#facing, width: { ideal: LONGEST_SIDE } }, audio: false };
    const stream = await navigator.mediaDevices.getUserMedia(wish).catch((error) => { throw refused(error); });
    if (!this.#isWanted) return stopTracks(stream); // the tab was hidden while the person was asked
    stream.getVideoTracks()[0].addEventListener("ended", () => this.onLost(new Failure(
      "The camera is gone",
      "Connect it again, or use a picture or a clip.",
    )));
    this.video.srcObject = stream;
    await super.resume();
  }

  /** Takes the camera on the device's other side. */
  async turn() {
    this.#facing = this.#facing === "user" ? "environment" : "user";
    this.suspend();
    await this.start();
  }

  suspend() {
    super.suspend();
    this.#isWanted = false;
    if (this.video.srcObject) stopTracks(this.video.srcObject);
    this.video.srcObject = null;
  }

  async resume() {
    if (this.video.srcObject) await super.resume();
    else await this.start();
  }
}

function stopTracks(stream) {
  for (const track of stream.getTracks()) track.stop();
}

/** @param {File} file */
export async function openClip(file) {
  const clip = new Clip(file);
  try {
    await clip.video.play();
  } catch {
    clip.close();
    throw unplayable(file.name);
  }
  if (clip.video.videoWidth) return clip;
  clip.close(); // only sound
  throw unplayable(file.name);
}

function unplayable(name) {
  return new Failure(
    `${name || "This clip"} cannot be played`,
    "It is damaged, or of a kind this browser does not play. MP4 with H.264 and WebM work in most.",
  );
}

export async function openCamera() {
  if (!navigator.mediaDevices) {
    throw new Failure(
      "The camera needs a secure address",
      "Browsers hand the camera to pages at https:// or localhost only.",
    );
  }
  const camera = new Camera("Camera");
  try {
    await camera.start();
  } catch (error) {
    camera.close();
    throw error;
  }
  return camera;
}

/** How many cameras there are; known once one may be used. */
export async function cameraCount() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter((device) => device.kind === "videoinput").length;
}

/** Words for what the browser says when it does not give the camera. */
function refused(error) {
  const [title, detail] = {
    NotAllowedError: ["The camera is not allowed", "Allow it beside the browser's address bar, then try again."],
    NotFoundError: ["There is no camera", "Connect one, or use a picture or a clip."],
    NotReadableError: ["The camera is in use", "Close the program that uses it, then try again."],
  }[error.name] ?? ["The camera did not start", "Try again, or use a picture or a clip."];
  return new Failure(title, detail);
}
