/** Opens a file as what it is. */

import { openPicture } from "./picture.js";
import { openClip } from "./video.js";

/**
 * @param {File} file
 * @param {object} limits see picture.js.
 * @returns a source, see video.js.
 */
export async function openFile(file, limits) {
  if (file.type.startsWith("video/")) return openClip(file);
  try {
    return await openPicture(file, limits);
  } catch (failure) {
    if (file.type) throw failure;
    return openClip(file).catch(() => { throw failure; }); // the system does not know the kind: it may be either
  }
}
