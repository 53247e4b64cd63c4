// A grid of pictures, one of which can be chosen, by pointer or by arrow keys (one stop of the tab key).

import { el } from "./dom.js";
import { flatten, isBinary, picture } from "./pixels.js";

export class Grid {
  /** `complete(values)` is called for the chosen picture. */
  constructor(model, { complete }) {
    Object.assign(this, { model, complete });
    this.chosen = null;
    this.list = el("div", { class: "grid", role: "listbox", "aria-label": "Pictures", "aria-orientation": "horizontal" });
    this.list.classList.toggle("binary", isBinary(model));
    this.list.addEventListener("keydown", (event) => this.#key(event));
    this.tools = el("div", { class: "actions tools" });
    this.element = el("div", {}, this.list, this.tools);
  }

  /** The values of the chosen picture if it is whole, or null. */
  chosenValues() {
    const values = this.pictures?.[this.chosen];
    const { height, width, channels } = this.model.image;
    return values?.length >= height * width * channels ? values.map(Math.round) : null;
  }

  /** So many empty frames, until the pictures come. */
  expect(count) {
    const { height, width } = this.model.image;
    this.#size(count);
    const frames = Array.from({ length: count }, () => el("div", { class: "frame", "aria-hidden": "true" }));
    this.list.style.setProperty("--shape", `${width} / ${height}`);
    this.list.replaceChildren(...frames);
    this.#tell();
  }

  #size(count) {
    this.list.dataset.size = count <= 4 ? "large" : count <= 24 ? "medium" : "small";
  }

  /** All pictures anew. */
  paint(sequence) {
    const prefix = flatten(sequence.prefix ?? []);
    const given = prefix.length / this.model.image.channels;
    this.pictures = sequence.samples.map((sample) => [...prefix, ...flatten(sample)]);
    this.chosen = null;
    const options = this.pictures.map((values, index) =>
      el("div", { role: "option", tabindex: index ? "-1" : "0", "aria-selected": "false", "aria-label": `Picture ${index + 1}`,
        click: () => this.#choose(index) }, picture(values, this.model, given)));
    this.#size(options.length);
    this.list.replaceChildren(...options);
    this.#tell();
  }

  #choose(index) {
    const options = [...this.list.children];
    this.chosen = index;
    options.forEach((option, other) => {
      option.setAttribute("aria-selected", String(other === index));
      option.tabIndex = other === index ? 0 : -1;
    });
    options[index].focus();
    this.#tell();
  }

  #tell() {
    if (this.chosen === null) {
      this.tools.replaceChildren(el("p", { class: "hint" }, "Choose a picture to complete its upper part or to save it."));
      return;
    }
    const whole = this.chosenValues();
    const complete = () => this.complete(whole);
    this.tools.replaceChildren(
      el("p", { class: "hint" }, `Picture ${this.chosen + 1}`),
      el("button", { type: "button", click: () => this.#save() }, "Save as PNG"),
    );
    if (!whole || this.model.takes_prefix === "none") return;
    this.tools.append(el("button", { type: "button", id: "complete", click: complete }, "Complete its upper part"));
  }

  #save() {
    this.list.children[this.chosen].firstChild.toBlob((blob) => {
      const url = URL.createObjectURL(blob);
      el("a", { href: url, download: `${this.model.name}-${this.chosen + 1}.png` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    });
  }

  #key(event) {
    const columns = getComputedStyle(this.list).gridTemplateColumns.split(" ").length;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    const at = [...this.list.children].indexOf(document.activeElement);
    if (event.key === "Enter" || event.key === " ") this.#choose(Math.max(0, at));
    else if (by && this.list.children[at + by]) this.#choose(at + by);
    else return;
    event.preventDefault();
  }
}
