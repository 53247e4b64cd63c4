// Models of text: a prompt, and what follows it, chunk by chunk as it comes.

import { el, plural } from "./dom.js";
import { FormError, starts } from "./form.js";

const LIKELY = "To be, or not to be";

export class Text {
  streams = true;
  unit = "bytes";
  name = "A prompt";

  constructor(model, host) {
    Object.assign(this, { model, host });
    this.defaults = { num_samples: 2, length: 512, start: model.takes_prefix === "none" ? "nothing" : "prefix" };
    this.prompt = el("textarea", { id: "prompt", rows: 4, spellcheck: "false", input: () => host.changed() }, LIKELY);
    this.prefix = el("div", { class: "field" }, el("label", { for: "prompt" }, "Prompt"), this.prompt);
    this.output = el("div", { class: "texts" });
  }

  prefixValue() {
    if (!this.prompt.value) throw new FormError("The prompt is empty. Write one, or start from nothing.", "prompt");
    return this.prompt.value;
  }

  request() {
    return {};
  }

  chosen() {
    this.prompt.focus();
  }

  /** Keeps the place of so many texts. */
  expect(samples) {
    this.#articles(samples, starts() === "prefix" ? this.prompt.value : "");
  }

  /** Only what is new is added where the same sequence is on the page already. */
  paint(sequence) {
    if (sequence !== this.painted) this.#begin(sequence);
    for (; this.shown < sequence.chunks.length; this.shown++) {
      sequence.chunks[this.shown].forEach((text, index) => {
        this.output.children[index].lastChild.append(el("span", { class: "chunk" }, text));
      });
    }
  }

  title(sequence) {
    return plural(sequence.numSamples, sequence.prefix ? "continuation" : "text");
  }

  complete() {
    return false;
  }

  write(params) {
    if (starts() === "prefix") params.set("prompt", this.prompt.value);
  }

  read(params) {
    if (params.has("prompt")) this.prompt.value = params.get("prompt");
  }

  #begin(sequence) {
    [this.painted, this.shown] = [sequence, 0];
    this.#articles(sequence.numSamples, sequence.prefix);
  }

  #articles(count, given) {
    this.output.replaceChildren(...Array.from({ length: count }, (_, index) =>
      el("article", { "aria-label": `Sample ${index + 1}` },
        el("h3", {}, `Sample ${index + 1}`),
        el("p", { class: "text" }, given ? el("span", { class: "given" }, given) : null))));
  }
}
