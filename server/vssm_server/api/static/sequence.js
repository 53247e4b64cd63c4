// What has been generated so far of one request and its continuations. Knows nothing of the page.

export class Sequence {
  /** `prefix`: what was sent, a list of steps or a string; null if nothing. */
  constructor(model, prefix = null, numSamples = 1) {
    this.model = model;
    this.prefix = prefix;
    this.numSamples = numSamples;
    this.samples = Array.from({ length: numSamples }, () => []); // of steps
    this.chunks = []; // each with one text a sample
    this.quantiles = new Map(); // quantile -> steps
    this.marks = []; // new steps at which a continuation began
    this.position = 0;
  }

  /** New steps so far. */
  get length() {
    return this.samples[0].length;
  }

  /** The fields of an answer or of a chunk of a stream. */
  add({ outputs, quantiles, position }) {
    for (const { index, values } of outputs) if (values) this.samples[index].push(...values);
    if (outputs[0].text != null) this.chunks.push(outputs.map((output) => output.text));
    for (const { quantile, values } of quantiles ?? []) {
      this.quantiles.set(quantile, [...(this.quantiles.get(quantile) ?? []), ...values]);
    }
    this.position = position;
  }

  /** Called before a continuation. */
  mark() {
    this.marks.push(this.length);
  }

  /** An independent copy, for a fork. */
  copy() {
    const twin = new Sequence(this.model, this.prefix, this.numSamples);
    twin.samples = this.samples.map((steps) => [...steps]);
    twin.chunks = [...this.chunks];
    twin.quantiles = new Map(this.quantiles);
    twin.marks = [...this.marks];
    twin.position = this.position;
    return twin;
  }
}
