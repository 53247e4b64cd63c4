// The observed beginning of a series: from pasted text to numbers, and an example. Knows nothing of the page.

import { FormError } from "./form.js";

const PERIOD = 24;

/** Lines of `size` numbers, parted by commas, semicolons, tabs or spaces, or a JSON list; heads of columns are skipped. */
export function parse(text, size) {
  const rows = text.trim().startsWith("[") ? ofJson(text) : ofLines(text);
  if (!rows.length) throw new FormError(`The history is empty. Paste lines of ${size} numbers, or take the example.`, "history");
  rows.forEach((row, index) => check(row, index, size));
  return size === 1 ? rows.map(([value]) => value) : rows;
}

function ofJson(text) {
  try {
    return JSON.parse(text).map((row) => (Array.isArray(row) ? row : [row]));
  } catch {
    throw new FormError("The history begins like JSON but is none. Paste a list of lists of numbers.", "history");
  }
}

function ofLines(text) {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  const rows = lines.map((line) => line.split(/[\s,;]+/).filter(Boolean));
  if (rows.length && rows[0].every((cell) => Number.isNaN(Number(cell)))) rows.shift();
  return rows.map((row) => row.map(Number));
}

function check(row, index, size) {
  const line = `Line ${index + 1} of the history`;
  if (row.length !== size) throw new FormError(`${line} has ${row.length} numbers; the model has ${size}.`, "history");
  if (!row.every(Number.isFinite)) throw new FormError(`${line} has something that is not a number.`, "history");
}

/** Made-up days: each channel a wave of its own height and shape, with a little noise; always the same. */
export function example(size, length) {
  const noise = generator();
  const wave = (step, channel) => {
    const angle = (2 * Math.PI * (step - 3 * channel)) / PERIOD;
    const height = 2 + ((channel * 5) % 7);
    const value = 3 * height + height * Math.sin(angle) + 0.4 * height * Math.sin(2 * angle + channel) + 0.5 * height * noise();
    return Number(value.toFixed(2));
  };
  return Array.from({ length }, (_, step) => Array.from({ length: size }, (_, channel) => wave(step, channel)));
}

/** Numbers between -1 and 1 (Park and Miller's generator). */
function generator() {
  let state = 42;
  return () => {
    state = (state * 48271) % 2147483647;
    return (2 * state) / 2147483647 - 1;
  };
}
