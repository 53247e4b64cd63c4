// Models of series: a history, sampled paths that continue it, and their quantiles.

import { chart, place } from "./chart.js";
import { el, plural } from "./dom.js";
import { starts } from "./form.js";
import { example, parse } from "./history.js";
import { packRows, unpackRows } from "./link.js";

const QUANTILES = [0.1, 0.25, 0.5, 0.75, 0.9];
const LONGEST_LINK = 7000; // characters; servers take URLs of 8 kB

export class Series {
  streams = false;
  unit = "steps";
  name = "A history";

  constructor(model, host) {
    Object.assign(this, { model, host, real: model.observation.dtype === "float32" });
    const given = model.takes_prefix !== "none" && this.real;
    this.defaults = { num_samples: 100, length: Math.min(96, model.length), start: given ? "prefix" : "nothing" };
    this.example = example(model.size, Math.min(240, model.length)).map((row) => row.join(" ")).join("\n");
    this.prefix = this.#editor();
    this.charts = el("div", { class: "charts" });
    this.output = el("div", {}, this.#legend(), this.charts);
    new ResizeObserver(() => this.painted && this.paint(this.painted)).observe(this.charts);
  }

  prefixValue() {
    return parse(this.history.value, this.model.size);
  }

  /** Quantiles, where the values are numbers and there are samples to take them over. */
  request(numSamples) {
    return this.real && numSamples > 1 ? { quantiles: QUANTILES } : {};
  }

  chosen() {
    this.history.focus();
  }

  /** Keeps the place of the charts. */
  expect() {
    this.charts.replaceChildren(...Array.from({ length: this.model.size }, (_, channel) => place(`Channel ${channel + 1}`)));
  }

  paint(sequence) {
    this.painted = sequence;
    const width = Math.floor((this.charts.clientWidth || 640) / this.#columns()) - 12;
    const channels = Array.from({ length: this.model.size }, (_, channel) => channelOf(sequence, channel));
    this.charts.replaceChildren(...channels.map((lines, channel) => chart(lines, `Channel ${channel + 1}`, width)));
    this.output.classList.toggle("banded", sequence.quantiles.size > 0);
  }

  title(sequence) {
    return plural(sequence.numSamples, "path");
  }

  complete() {
    return false;
  }

  write(params) {
    if (starts() !== "prefix") return;
    if (this.history.value === this.example) return;
    const rows = packRows(this.history.value.trim().split("\n").map((line) => line.trim().split(/[\s,;]+/)));
    if (rows.length <= LONGEST_LINK) params.set("history", rows);
    else params.set("history", "too-long");
  }

  read(params) {
    const rows = params.get("history");
    if (rows) this.history.value = rows === "too-long" ? "" : unpackRows(rows);
  }

  #columns() {
    return this.charts.clientWidth >= 680 && this.model.size > 1 ? 2 : 1;
  }

  #editor() {
    const hint = `One line a step, ${plural(this.model.size, "number")} each. The example is made up: days of 24 steps.`;
    this.history = el("textarea", { id: "history", rows: 6, wrap: "off", spellcheck: "false", "aria-describedby": "history-hint",
      input: () => this.host.changed() });
    this.history.value = this.example;
    const back = () => {
      this.history.value = this.example;
      this.host.changed();
    };
    return el("div", { class: "field" }, el("label", { for: "history" }, "History"), this.history,
      el("p", { class: "hint", id: "history-hint" }, hint),
      el("div", { class: "actions" }, el("button", { type: "button", id: "example", click: back }, "Use the example")));
  }

  #legend() {
    const items = [["history", "history"], ["path", "sampled paths"], ["median", "median"], ["inner", "middle half"], ["outer", "middle 80 %"]];
    return el("ul", { class: "legend" }, ...items.map(([kind, text]) => el("li", { class: kind }, text)));
  }
}

/** What the chart of one channel shows: lists of numbers. */
function channelOf(sequence, channel) {
  const pick = (steps) => steps.map((step) => (Array.isArray(step) ? step[channel] : step));
  const quantiles = new Map([...sequence.quantiles].map(([quantile, steps]) => [quantile, pick(steps)]));
  return { history: pick(sequence.prefix ?? []), paths: sequence.samples.map(pick), quantiles, marks: sequence.marks };
}
