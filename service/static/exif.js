/** Reads how a JPEG is to be turned; the service detects in the pixels as they are stored. */

const EXIF_HEADER = 0x45786966; // "Exif"
const ORIENTATION = 0x0112;
const APP1 = 0xffe1;
const START_OF_SCAN = 0xffda;

/**
 * @param {ArrayBuffer} head the file's first bytes; EXIF lies within the first 64 KiB of its segment.
 * @returns {number} 1 to 8; 1, upright, where the file does not say.
 */
export function orientation(head) {
  try {
    return segmentOrientation(new DataView(head));
  } catch (error) {
    if (error instanceof RangeError) return 1; // cut or nonsense: read past the end
    throw error;
  }
}

function segmentOrientation(view) {
  if (view.getUint16(0) !== 0xffd8) return 1;
  let at = 2;
  while (view.getUint16(at) !== START_OF_SCAN && view.getUint8(at) === 0xff) {
    if (view.getUint16(at) === APP1 && view.getUint32(at + 4) === EXIF_HEADER) return tagValue(view, at + 10);
    at += 2 + view.getUint16(at + 2);
  }
  return 1;
}

function tagValue(view, tiff) {
  const little = view.getUint16(tiff) === 0x4949;
  const directory = tiff + view.getUint32(tiff + 4, little);
  const entries = view.getUint16(directory, little);
  for (let entry = 0; entry < entries; entry += 1) {
    const at = directory + 2 + entry * 12;
    if (view.getUint16(at, little) === ORIENTATION) {
      const value = view.getUint16(at + 8, little);
      return value >= 1 && value <= 8 ? value : 1;
    }
  }
  return 1;
}
