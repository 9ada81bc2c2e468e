// A photo's crop as the network input: what `to_network_size` of kd/photo.py makes of it, pixel for pixel.
//
// A canvas's own scaling differs from browser to browser, so this is Pillow's Lanczos filter, step by step: the filter is
// widened by the factor of the reduction (antialiasing), the coefficients are fixed-point numbers of 22 bits, and each
// row is rounded to 8 bits before the columns. Source: Pillow, src/libImaging/Resample.c.

export const SIZE = 32; // pixels, both ways

const LOBES = 3, PRECISION = 22;

const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));
const lanczos = (x) => (x >= -LOBES && x < LOBES ? sinc(x) * sinc(x / LOBES) : 0);
const toByte = (sum) => Math.min(255, Math.max(0, sum >> PRECISION));

// For each of `size` output pixels the first input pixel that it is made of and the coefficients of those from there on,
// if the input's stretch from `start` to `end` (of `length` pixels) is scaled to `size`.
function coefficients(length, start, end, size) {
  [start, end] = [Math.fround(start), Math.fround(end)]; // as Pillow receives them
  const scale = Math.fround(end - start) / size, widened = Math.max(scale, 1), support = LOBES * widened;
  return Array.from({ length: size }, (_, position) => {
    const centre = start + (position + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(length, Math.trunc(centre + support + 0.5));
    const weights = Array.from({ length: last - first }, (_, k) => lanczos((k + first - centre + 0.5) / widened));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return {
      first,
      weights: Int32Array.from(weights, (weight) => {
        const scaled = (weight / sum) * 2 ** PRECISION;
        return Math.trunc(scaled + (scaled < 0 ? -0.5 : 0.5));
      }),
    };
  });
}

// A part of a photo, scaled.
//
// photo: {data, width, height}, data in RGBA as of an ImageData; alpha is not looked at.
// box: left, top, right and bottom edge of the part in the photo, fractions of pixels allowed.
// Returns {data, width, height}, data in RGB, three bytes a pixel, row by row.
export function resize(photo, width, height, box = [0, 0, photo.width, photo.height]) {
  const [left, top, right, bottom] = box;
  const columns = coefficients(photo.width, left, right, width);
  const rows = coefficients(photo.height, top, bottom, height);
  const below = rows[height - 1].first + rows[height - 1].weights.length;
  const half = 1 << (PRECISION - 1);

  const narrow = new Uint8Array(width * photo.height * 3); // only the rows from the box's first to its last are filled
  const unscaled = width === photo.width && left === 0 && right === width;
  for (let y = rows[0].first; y < below; y++) {
    for (let x = 0; x < width; x++) {
      const { first, weights } = columns[x], to = (y * width + x) * 3;
      if (unscaled) {
        for (let channel = 0; channel < 3; channel++) narrow[to + channel] = photo.data[(y * width + x) * 4 + channel];
        continue;
      }
      let red = half, green = half, blue = half, from = (y * photo.width + first) * 4;
      for (let k = 0; k < weights.length; k++, from += 4) {
        red += photo.data[from] * weights[k];
        green += photo.data[from + 1] * weights[k];
        blue += photo.data[from + 2] * weights[k];
      }
      narrow[to] = toByte(red);
      narrow[to + 1] = toByte(green);
      narrow[to + 2] = toByte(blue);
    }
  }
  if (height === photo.height && top === 0 && bottom === height) return { data: narrow, width, height };

  const data = new Uint8Array(width * height * 3), stride = width * 3;
  for (let y = 0; y < height; y++) {
    const { first, weights } = rows[y];
    for (let x = 0; x < stride; x++) {
      let sum = half;
      for (let k = 0; k < weights.length; k++) sum += narrow[(first + k) * stride + x] * weights[k];
      data[y * stride + x] = toByte(sum);
    }
  }
  return { data, width, height };
}

// A photo shrunk by a whole factor, each pixel the mean of a square; at the right and at the bottom of what is left of
// one. Pillow's `Image.reduce` to the rounding. Source: Pillow, src/libImaging/Reduce.c.
//
// photo: an ImageData that is opaque. Returns one.
export function reduce(photo, factor) {
  if (factor === 1) return photo;
  const width = Math.ceil(photo.width / factor), height = Math.ceil(photo.height / factor);
  const image = new ImageData(width, height), data = image.data.fill(255);
  for (let y = 0; y < height; y++) {
    const bottom = Math.min((y + 1) * factor, photo.height);
    for (let x = 0; x < width; x++) {
      const right = Math.min((x + 1) * factor, photo.width);
      const pixels = (bottom - y * factor) * (right - x * factor), share = Math.floor(2 ** 24 / pixels);
      let red = pixels >> 1, green = red, blue = red;
      for (let row = y * factor; row < bottom; row++) {
        for (let from = (row * photo.width + x * factor) * 4; from < (row * photo.width + right) * 4; from += 4) {
          red += photo.data[from];
          green += photo.data[from + 1];
          blue += photo.data[from + 2];
        }
      }
      const to = (y * width + x) * 4;
      data[to] = Math.floor((red * share) / 2 ** 24);
      data[to + 1] = Math.floor((green * share) / 2 ** 24);
      data[to + 2] = Math.floor((blue * share) / 2 ** 24);
    }
  }
  return image;
}

// Half to even, as Python rounds.
function round(x) {
  const floor = Math.floor(x), rest = x - floor;
  return rest < 0.5 || (rest === 0.5 && floor % 2 === 0) ? floor : floor + 1;
}

export const CENTRE = { across: 0.5, down: 0.5, side: 1 }; // as in kd/photo.py

// The network input of a photo: SIZE x SIZE pixels in RGB, as `resize` returns them.
//
// crop: {across, down, side} as of `Crop` in kd/photo.py; null for the whole photo with black margins.
export function toNetworkSize(photo, crop = CENTRE) {
  if (crop) {
    const side = crop.side * Math.min(photo.width, photo.height);
    const left = (photo.width - side) * crop.across, top = (photo.height - side) * crop.down;
    const box = [left, top, Math.min(left + side, photo.width), Math.min(top + side, photo.height)];
    return resize(photo, SIZE, SIZE, box);
  }
  const scale = SIZE / Math.max(photo.width, photo.height);
  const [width, height] = [photo.width, photo.height].map((side) => Math.max(1, round(side * scale)));
  const whole = resize(photo, width, height), data = new Uint8Array(SIZE * SIZE * 3);
  const left = Math.floor((SIZE - width) / 2), top = Math.floor((SIZE - height) / 2);
  for (let y = 0; y < height; y++) {
    data.set(whole.data.subarray(y * width * 3, (y + 1) * width * 3), ((top + y) * SIZE + left) * 3);
  }
  return { data, width: SIZE, height: SIZE };
}
