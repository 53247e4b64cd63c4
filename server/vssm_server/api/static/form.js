// The fields every model has: read for a request, written into the URL and restored from it.

import { byId, count } from "./dom.js";

/** A field that cannot be sent; `param` is its id. */
export class FormError extends Error {
  constructor(message, param) {
    super(message);
    this.param = param;
  }
}

const NUMBERS = ["num_samples", "length", "temperature", "num_particles", "max_passes"];
const LIST = ["start"]; // radio buttons
const LARGEST_SEED = 2n ** 63n - 1n;
const MOST_EXPECTED = 1024; // more are refused by the server as it is set by default

/** By name; `elements.length` would be the number of elements. */
const field = (name) => (LIST.includes(name) ? byId("form").elements[name] : byId("form").querySelector(`[name="${name}"]`));

/** The fields of a request but for the prefix, those of a continuation only on request. */
export function request(model) {
  const fields = { model: model.name, num_samples: whole("num_samples"), seed: seed(), ...continuation(model) };
  if (byId("save").checked) fields.save = true;
  if (starts() === "prefix" && model.max_particles > 1 && whole("num_particles") > 1) {
    fields.num_particles = whole("num_particles");
  }
  return fields;
}

/** The fields that make sense when a session is resumed. */
export function continuation(model) {
  const fields = { temperature: real("temperature") };
  if (field("length").value.trim()) fields.length = whole("length");
  if (model.steps_a_pass && field("max_passes").value.trim()) fields.max_passes = whole("max_passes");
  if (model.image && field("output").value === "mean") fields.output = "mean";
  return fields;
}

/** "nothing" or "prefix". */
export const starts = () => field("start").value;

export function setStart(value) {
  field("start").value = value;
  byId("prefix").hidden = value !== "prefix";
}

/** A random seed that a link can carry and a person can read out. */
export function drawSeed() {
  field("seed").value = String(crypto.getRandomValues(new Uint32Array(1))[0]);
}

/** How many samples will be asked for, as far as the field can be read. */
export function expectedSamples() {
  const number = Number(field("num_samples").value);
  return Number.isInteger(number) && number >= 1 ? Math.min(number, MOST_EXPECTED) : 1;
}

/** Sets what a model needs: its unit, its limits, its defaults. */
export function fit(model, unit, defaults) {
  byId("unit").textContent = unit;
  byId("length").placeholder = model.image ? "to the end" : `up to ${count(model.length)}`;
  byId("particles-field").hidden = !(model.max_particles > 1);
  byId("passes-field").hidden = !model.steps_a_pass;
  byId("output-field").hidden = !model.image;
  byId("more").hidden = !(model.max_particles > 1) && !model.steps_a_pass && !model.image;
  field("num_particles").max = model.max_particles;
  byId("temperature").max = model.max_temperature;
  byId("warmth").max = Math.min(2, model.max_temperature);
  set({ length: "", num_particles: 1, max_passes: "", temperature: 1, output: "sample", ...defaults });
  for (const radio of field("start")) radio.disabled = radio.value === "prefix" && model.takes_prefix === "none";
}

function set(values) {
  for (const [name, value] of Object.entries(values)) field(name).value = value;
  byId("warmth").value = byId("temperature").value;
}

/** The query's parameters of the form. */
export function write(params) {
  params.set("model", field("model").value);
  params.set("seed", field("seed").value);
  for (const name of NUMBERS) if (field(name).value.trim() && shown(name)) params.set(name, field(name).value);
  if (field("output").value === "mean" && shown("output")) params.set("output", "mean");
  if (byId("save").checked) params.set("save", "true");
  params.set("start", starts());
}

const shown = (name) => !field(name).closest("[hidden]:not(#prefix)");

/** The inverse of `write`; the model is chosen already. */
export function read(params) {
  const values = Object.fromEntries([...params].filter(([name]) => [...NUMBERS, "seed"].includes(name)));
  set(values);
  if (params.has("model") && !params.has("length")) set({ length: "" });
  if (params.get("output") === "mean") set({ output: "mean" });
  if (params.has("save")) byId("save").checked = params.get("save") === "true";
  if (params.has("seed")) byId("new-seed").checked = false;
  if (["nothing", "prefix"].includes(params.get("start"))) setStart(params.get("start"));
}

/** Marks the field an error is about, or none. */
export function mark(param) {
  for (const input of byId("form").querySelectorAll("[aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-errormessage");
  }
  const input = param && (byId(param) ?? byId("form").querySelector(`[name="${CSS.escape(param)}"]`));
  if (!input?.matches("#form input, #form select, #form textarea")) return;
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-errormessage", "error");
  const details = input.closest("details");
  if (details) details.open = true;
}

function seed() {
  const text = field("seed").value.trim();
  if (!/^\d{1,19}$/.test(text) || BigInt(text) > LARGEST_SEED) throw new FormError("The seed must be a whole number from 0 to 2^63 - 1.", "seed");
  return String(BigInt(text));
}

function whole(name) {
  const number = real(name);
  if (!Number.isInteger(number)) throw new FormError(`${label(name)} must be a whole number, not ${number}.`, name);
  return number;
}

function real(name) {
  const text = field(name).value.trim();
  if (!text || !Number.isFinite(Number(text))) throw new FormError(`${label(name)} must be a number.`, name);
  return Number(text);
}

const label = (name) => field(name).labels[0].textContent.trim();
