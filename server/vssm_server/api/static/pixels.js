// From steps of values to the pixels of a canvas and back. Knows nothing of the page.

/** Whether a model's pixels are ink or paper. */
export const isBinary = (model) => model.observation.classes === 2 && model.image.channels === 1;

/** Steps (each a number or a list) as one flat list of values, row major, channels last. */
export const flatten = (steps) => steps.flat();

/** The inverse: the first `count` steps of a picture as the API wants them. */
export function steps(values, model, count) {
  if (model.size === 1) return Array.from(values.slice(0, count));
  return Array.from({ length: count }, (_, step) => Array.from(values.slice(step * model.size, (step + 1) * model.size)));
}

/** Steps that cover the first `rows` rows of a picture; at least 1, and not all. */
export function stepsOfRows(rows, model) {
  const each = model.length / model.image.height;
  return Math.max(1, Math.min(model.length - 1, Math.round(rows * each)));
}

const PAPER = [255, 255, 255];
const INK = [22, 25, 31];
const GIVEN = [67, 83, 214]; // ink of what was observed, not generated

/** A canvas of a picture's values; what is not there yet stays transparent. `given`: values that were observed. */
export function picture(values, model, given = 0) {
  const { height, width, channels } = model.image;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const data = context.createImageData(width, height);
  const colour = isBinary(model) ? ink(given) : channels === 1 ? grey(model) : rgb(model);
  const pixels = Math.min(width * height, Math.floor(values.length / channels));
  for (let pixel = 0; pixel < pixels; pixel++) data.data.set([...colour(values, pixel), 255], pixel * 4);
  context.putImageData(data, 0, 0);
  return canvas;
}

const ink = (given) => (values, pixel) => {
  const dark = pixel < given ? GIVEN : INK;
  return PAPER.map((paper, channel) => paper + (dark[channel] - paper) * values[pixel]);
};

function scale(model) {
  const { low, high } = model.observation;
  const [least, most] = [low ?? 0, high ?? 1];
  return (value) => (255 * (value - least)) / (most - least || 1);
}

function grey(model) {
  const bright = scale(model);
  return (values, pixel) => [bright(values[pixel]), bright(values[pixel]), bright(values[pixel])];
}

function rgb(model) {
  const [bright, channels] = [scale(model), model.image.channels];
  return (values, pixel) => [0, 1, 2].map((channel) => bright(values[pixel * channels + Math.min(channel, channels - 1)]));
}
