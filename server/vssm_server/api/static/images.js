// Models of images: a grid of samples, and completions of the upper part of a picture.

import * as api from "./api.js";
import { byId, el, plural } from "./dom.js";
import { drawSeed, setStart, starts } from "./form.js";
import { Drawing } from "./drawing.js";
import { Grid } from "./grid.js";
import { pack, unpack } from "./link.js";
import { flatten, isBinary, steps, stepsOfRows } from "./pixels.js";

export class Images {
  streams = false;
  name = "An upper part";

  constructor(model, host) {
    Object.assign(this, { model, host, unit: model.length === model.image.height ? "rows" : "steps" });
    this.defaults = { num_samples: isBinary(model) ? 64 : 16, start: "nothing" };
    this.drawing = new Drawing(model, () => this.#changed());
    this.grid = new Grid(model, { complete: (values) => this.#complete(values) });
    this.prefix = this.#editor();
    this.output = this.grid.element;
  }

  /** The observed steps. */
  prefixValue() {
    return steps(this.drawing.values, this.model, stepsOfRows(this.drawing.rows, this.model));
  }

  request() {
    return {};
  }

  /** Called when the start is chosen: an empty picture would be a dull one to complete. */
  async chosen() {
    if (this.drawing.empty) await this.#take();
  }

  /** Keeps the place of so many pictures. */
  expect(samples) {
    this.grid.expect(samples);
  }

  paint(sequence) {
    this.grid.paint(sequence);
  }

  title(sequence) {
    const made = sequence.prefix ? "completion" : "sample";
    return plural(sequence.numSamples, made);
  }

  /** Whether there is something left to continue. */
  complete(sequence) {
    return sequence.position >= this.model.length;
  }

  write(params) {
    if (starts() !== "prefix") return;
    params.set("rows", this.drawing.rows);
    params.set("picture", pack(this.drawing.values, isBinary(this.model)));
  }

  read(params) {
    const rows = Number(params.get("rows"));
    const values = unpack(params.get("picture") ?? "", this.drawing.values.length, isBinary(this.model));
    if (values) this.drawing.set(values);
    if (Number.isInteger(rows) && rows >= 1 && rows < this.drawing.height) this.#setRows(rows);
  }

  #editor() {
    const { canDraw, height } = this.drawing;
    const most = height - 1;
    this.slider = el("input", { id: "rows", type: "range", min: 1, max: most, value: this.drawing.rows });
    this.slider.addEventListener("input", () => this.#setRows(this.slider.valueAsNumber));
    this.slider.addEventListener("change", () => this.#changed());
    this.told = el("output", { for: "rows" });
    const pen = el("button", { type: "button", "aria-pressed": "false", click: () => this.#toggle(pen) }, "Eraser");
    const clear = el("button", { type: "button", click: () => this.#clear() }, "Clear");
    const take = el("button", { type: "button", id: "take", click: () => this.#take(true) }, "Use a sample");
    this.live = el("input", { type: "checkbox", id: "live", checked: true });
    const keys = el("p", { id: "drawing-keys", class: "hint" }, canDraw
      ? "Draw above the line. With keys: arrows move, space sets a pixel, shift and arrows draw."
      : "Rows above the line are kept, the others generated.");
    this.#setRows(this.drawing.rows);
    return el("div", { class: "editor" }, this.drawing.canvas, this.drawing.spoken, keys,
      el("div", { class: "actions" }, canDraw && pen, canDraw && clear, take),
      el("div", { class: "field" }, el("label", { for: "rows" }, "Observed rows: ", this.told), this.slider),
      el("label", { class: "check" }, this.live, " Complete after every change"),
      el("a", { href: "#results", class: "narrow" }, "See the completions"));
  }

  #setRows(rows) {
    this.drawing.rows = rows;
    this.slider.value = rows;
    this.told.textContent = `${rows} of ${this.drawing.height}`;
    this.drawing.paint();
  }

  #toggle(button) {
    this.drawing.erasing = !this.drawing.erasing;
    button.setAttribute("aria-pressed", String(this.drawing.erasing));
  }

  #clear() {
    this.drawing.clear();
    this.#changed();
  }

  /** The chosen sample of the grid, or a fresh one. */
  async #take(run = false) {
    this.drawing.set(this.grid.chosenValues() ?? (await this.#fresh()));
    if (run) this.#changed();
  }

  async #fresh() {
    drawSeed();
    const body = { model: this.model.name, seed: byId("seed").value };
    const answer = await this.host.attempt(() => api.generate(body));
    return answer ? flatten(answer.outputs[0].values) : this.drawing.values;
  }

  #complete(values) {
    this.drawing.set(values);
    setStart("prefix");
    this.host.run({ keepSeed: true });
  }

  #changed() {
    this.host.changed();
    if (this.live.checked) this.host.run({ keepSeed: true, quiet: true });
  }
}
