// One chart: a history, sampled paths after it, bands of quantiles. SVG without a library. Knows nothing of models.

import { el, svg } from "./dom.js";

const HEIGHT = 190;
const MARGIN = { left: 44, right: 8, top: 8, bottom: 22 };
const MOST_PATHS = 4; // more would hide the bands
const BANDS = [["outer", 0.1, 0.9], ["inner", 0.25, 0.75]];

/** A figure of `{history, paths, quantiles: Map(quantile -> values), marks}`, `width` pixels wide. */
export function chart({ history, paths, quantiles, marks }, title, width) {
  const future = paths[0].length;
  const before = history.slice(-Math.max(24, 2 * future)); // the past is shown as far as it helps
  const shown = paths.slice(0, MOST_PATHS);
  const scale = scales(before, [...shown, ...quantiles.values()], future, width);
  const last = before.slice(-1);
  const line = (kind, values, first) => svg("path", { class: kind, d: `M${scale.points(values, first).join("L")}` });
  const bands = BANDS.filter(([, low]) => quantiles.has(low));
  const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": words(title, before, shown, quantiles) },
    ...axes(scale, width),
    ...marks.map((mark) => rule(scale.x(mark), "mark")),
    before.length ? rule(scale.x(-0.5), "now") : null,
    ...bands.map(([kind, low, high]) => band(kind, quantiles.get(low), quantiles.get(high), scale)),
    ...shown.map((path) => line("path", [...last, ...path], last.length ? -1 : 0)),
    before.length ? line("history", before, -before.length) : null,
    quantiles.has(0.5) ? line("median", [...last, ...quantiles.get(0.5)], last.length ? -1 : 0) : null,
  );
  return el("figure", { class: "chart" }, el("figcaption", {}, title), picture);
}

/** The place of a chart that will come. */
export const place = (title) => el("figure", { class: "chart" }, el("figcaption", {}, title), svg("svg", { height: HEIGHT, width: 1 }));

/** Step 0 is the first that was generated. */
function scales(before, after, future, width) {
  const all = [...before, ...after.flat()];
  const [least, most] = [all.reduce((a, b) => Math.min(a, b), Infinity), all.reduce((a, b) => Math.max(a, b), -Infinity)];
  const ticks = nice(least, most === least ? least + 1 : most);
  const [low, high] = [Math.min(least, ticks[0]), Math.max(most, ticks.at(-1))];
  const [first, steps] = [-before.length, Math.max(1, before.length + future - 1)];
  const x = (step) => MARGIN.left + ((step - first) / steps) * (width - MARGIN.left - MARGIN.right);
  const y = (value) => HEIGHT - MARGIN.bottom - ((value - low) / (high - low)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const points = (values, start) => values.map((value, index) => `${x(start + index).toFixed(1)},${y(value).toFixed(1)}`);
  return { x, y, points, ticks, first, last: first + steps };
}

function band(kind, low, high, scale) {
  const around = [...scale.points(low, 0), ...scale.points(high, 0).reverse()];
  return svg("path", { class: kind, d: `M${around.join("L")}Z` });
}

const rule = (x, kind) => svg("line", { class: kind, x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom });

function axes({ x, y, ticks, first, last }, width) {
  const level = (value) => [
    svg("line", { class: "level", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
    svg("text", { x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, short(value)),
  ];
  const steps = nice(first, last, width < 420 ? 6 : 9).filter((step) => Number.isInteger(step) && step >= first && step <= last);
  const label = (step) => svg("text", { x: x(step), y: HEIGHT - 6, "text-anchor": "middle" }, step > 0 ? `+${step}` : `${step}`);
  return [...ticks.flatMap(level), ...steps.map(label)];
}

const short = (value) => (Math.abs(value) >= 1e5 ? value.toExponential(0) : String(Number(value.toPrecision(6))));

/** About `count` round numbers that span low to high. */
function nice(low, high, count = 4) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
  const from = Math.floor(low / step);
  return Array.from({ length: Math.ceil(high / step) - from + 1 }, (_, index) => (from + index) * step);
}

function words(title, before, paths, quantiles) {
  const end = (values) => short(Number(values.at(-1).toPrecision(3)));
  const past = before.length ? `${before.length} observed steps, the last ${end(before)}; ` : "";
  const spread = [0.1, 0.5, 0.9].every((quantile) => quantiles.has(quantile))
    ? `at the last step the median is ${end(quantiles.get(0.5))}, the middle 80 % from ${end(quantiles.get(0.1))} to ${end(quantiles.get(0.9))}`
    : `the first path ends at ${end(paths[0])}`;
  return `${title}: ${past}${paths[0].length} new steps; ${spread}.`;
}
