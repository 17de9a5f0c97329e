/** Draws pictures and video frames into JPEGs that the service reads. */

/** The size that keeps the aspect ratio and whose longer side is at most `longest` px. */
export function fitting(width, height, longest) {
  const scale = Math.min(1, longest / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/** A canvas that is used again for every frame of a source. */
export class Encoder {
  #canvas = document.createElement("canvas");

  /**
   * @param {CanvasImageSource} image
   * @param {{width: number, height: number}} size px of the JPEG.
   * @param {number} quality 0 to 1.
   * @returns {Promise<{blob: Blob, bitmap: ImageBitmap}>} the JPEG and the same pixels to draw.
   */
  async encode(image, { width, height }, quality) {
    if (this.#canvas.width !== width || this.#canvas.height !== height) Object.assign(this.#canvas, { width, height });
    const context = this.#canvas.getContext("2d", { alpha: false });
    context.fillStyle = "#fff"; // what is transparent
    context.fillRect(0, 0, width, height);
    context.drawImage(image, 0, 0, width, height);
    const [blob, bitmap] = await Promise.all([
      new Promise((resolve) => { this.#canvas.toBlob(resolve, "image/jpeg", quality); }),
      createImageBitmap(this.#canvas),
    ]);
    return { blob, bitmap };
  }
}
