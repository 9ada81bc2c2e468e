// An image file to pixels, or a sentence that says why it is none: what `read_photo` of kd/photo.py is on the server.
// The file does not leave the browser.

import { reduce } from "./shrink.js";

export const MAX_FILE_BYTES = 25_000_000; // as in kd/photo.py
// Width times height: as many as the server takes of a HEIC, which phones take with up to 48.8 million. Of a JPEG it
// takes more, since it can decode that at a reduced scale, and of other formats fewer; a browser decodes all of it, in
// four bytes a pixel.
const MAX_PIXELS = 50_000_000;
const SURELY_DRAWN = 4096 * 4096; // pixels: Safari's canvas before version 18 takes no more
const ENOUGH = 4_000_000; // pixels, as in kd/photo.py: a larger photo is shrunk as soon as it is decoded
const GROUND = "white"; // what transparent pixels show

// A file cannot be used as a photo; the message is a sentence for the person who chose it.
export class PhotoError extends Error {}

// Reads an image file of any kind that the browser knows, upright, transparency on white; of an animation the first
// picture. Colour profiles are left aside, as on the server, and what is larger than ENOUGH is shrunk.
//
// file: a File or Blob.
// Returns an ImageData of the whole photo.
export async function readPhoto(file) {
  if (file.size > MAX_FILE_BYTES) {
    throw new PhotoError(`The file is larger than ${MAX_FILE_BYTES / 1e6} MB. Please choose a smaller one.`);
  }
  if (!file.size) throw new PhotoError("The file is empty. Please choose another one.");
  const { width, height } = await sizeOf(file);
  if (width * height > MAX_PIXELS) {
    throw new PhotoError(`The image has more than ${MAX_PIXELS / 1e6} million pixels. Please scale it down first.`);
  }
  try {
    const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext("2d", { willReadFrequently: true }); // in memory, where reading is exact
    context.fillStyle = GROUND;
    context.fillRect(0, 0, bitmap.width, bitmap.height);
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const factor = Math.ceil(Math.sqrt((width * height) / ENOUGH));
    return reduce(context.getImageData(0, 0, canvas.width, canvas.height), factor);
  } catch (error) {
    console.warn(error);
    if (width * height > SURELY_DRAWN) {
      throw new PhotoError("The image is damaged, or too large for this browser. Please scale it down, or choose another file.");
    }
    throw new PhotoError("The image is damaged or cut off. Please choose another file.");
  }
}

// What to tell whoever chose a file that could not be used.
export function sentenceOf(error) {
  if (error instanceof PhotoError) return error.message;
  console.error(error);
  return "The photo could not be read: memory may be short. Please choose a smaller one.";
}

// The network input, as shrink.js returns it, as an address that an <img> shows.
export function pictureOf({ data, width, height }) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height }), context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let at = 0; at < width * height; at++) image.data.set([...data.subarray(at * 3, at * 3 + 3), 255], at * 4);
  context.putImageData(image, 0, 0);
  return canvas.toDataURL();
}

// Width and height as the file's header says: an <img> knows them before anything is decoded, so that a small file
// with a huge picture in it does no harm.
async function sizeOf(file) {
  const image = new Image(), url = URL.createObjectURL(file);
  try {
    await new Promise((done, fail) => {
      image.onload = done;
      image.onerror = fail;
      image.src = url;
    });
  } catch {
    throw new PhotoError("This file is not an image that can be read. Please use JPEG, PNG, WebP, GIF or BMP.");
  } finally {
    URL.revokeObjectURL(url);
  }
  return { width: image.naturalWidth, height: image.naturalHeight };
}
