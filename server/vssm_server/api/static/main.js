// The playground: asks the server what it has, lets the form ask for sequences, and shows what comes.

import * as api from "./api.js";
import { byId, count, el, narrow } from "./dom.js";
import * as facts from "./facts.js";
import * as form from "./form.js";
import * as key from "./key.js";
import { Images } from "./images.js";
import { Sequence } from "./sequence.js";
import { Series } from "./series.js";
import { SessionList } from "./sessions.js";
import { Text } from "./text.js";

const VIEWS = { image: Images, text: Text };
let models = [];
let view = null;
let running = null; // the AbortController of the request under way

const sessions = new SessionList({
  attempt,
  advance: (entry) => advance(entry),
  open: (entry) => show(entry.sequence),
  complete: (sequence) => view.complete(sequence),
});

/** One request of the form. `keepSeed`: the same as before; `quiet`: the page stays where it is. */
async function run({ keepSeed = false, quiet = false } = {}) {
  if (!view) return;
  if (!keepSeed && byId("new-seed").checked) form.drawSeed();
  await attempt(async () => {
    const request = form.request(view.model);
    if (form.starts() === "prefix") request.prefix = view.prefixValue();
    Object.assign(request, view.request(request.num_samples));
    remember();
    const sequence = new Sequence(view.model, request.prefix ?? null, request.num_samples);
    const answer = await generate(request, sequence, request.seed, quiet);
    if (answer.session_id) await sessions.add(answer.session_id, sequence, request.seed);
  });
}

/** More of a session. */
const advance = (entry) => attempt(async () => {
  const { sequence } = entry;
  const request = { session_id: entry.id, ...form.continuation(view.model), ...view.request(sequence.numSamples) };
  const left = view.model.length - sequence.position;
  if (view.model.image) request.length = Math.min(request.length ?? left, left);
  sequence.mark();
  await generate(request, sequence, entry.seed);
  await sessions.refresh(entry);
});

/** Sends a request and shows its answer. A request that is under way is ended: only the last one counts. */
async function generate(request, sequence, seed, quiet = false) {
  running?.abort();
  const control = (running = new AbortController());
  busy(true);
  const began = performance.now();
  let firstChunk = null;
  const onChunk = (chunk) => {
    if (control !== running) return;
    firstChunk ??= performance.now() - began;
    sequence.add(chunk);
    show(sequence);
  };
  try {
    if (!quiet && narrow()) byId("results").scrollIntoView({ block: "start" });
    const answer = view.streams
      ? await api.stream(request, onChunk, control.signal)
      : await api.generate(request, control.signal);
    sequence.add(answer);
    if (control === running) {
      show(sequence);
      facts.show(answer, sequence, seed, performance.now() - began, firstChunk);
    }
    return answer;
  } finally {
    if (control === running) busy((running = null));
  }
}

/** Runs `work`; what goes wrong is said in words. Returns its result, or undefined. */
async function attempt(work) {
  facts.calm();
  form.mark(null);
  try {
    return await work();
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    if (!(error instanceof api.ApiError || error instanceof form.FormError)) console.error(error);
    facts.fail(error);
    form.mark(error.param);
    return undefined;
  }
}

function show(sequence) {
  byId("title").textContent = view.title(sequence);
  view.paint(sequence);
  sessions.shows(sequence);
}

function busy(now) {
  byId("stop").hidden = !now;
  byId("results").setAttribute("aria-busy", String(Boolean(now)));
  if (now) facts.say("Generating …");
}

/** Stops listening; the server ends a request whose caller has gone. */
function stop() {
  running?.abort();
  facts.say("Stopped.");
}

/** The form in the URL. */
function remember() {
  const params = new URLSearchParams();
  form.write(params);
  view.write(params);
  history.replaceState(null, "", `?${params}`);
}

async function copyLink() {
  remember();
  try {
    await navigator.clipboard.writeText(location.href);
    facts.say("The link is copied: it makes the same values again.");
  } catch {
    facts.say("The link is in the address bar: it makes the same values again.");
  }
}

/** Puts the page in order for a model; `params` are those of a link. */
function choose(model, params = new URLSearchParams()) {
  running?.abort();
  byId("model").value = model.name;
  const size = `${count(model.parameters)} parameters, ${count(model.state_bytes)} bytes of state a sample`;
  byId("about").textContent = `${model.description ? `${model.description}. ` : ""}${size}.`;
  view = new (VIEWS[model.modality] ?? Series)(model, { run, attempt, changed: remember });
  sessions.clear();
  byId("start-name").textContent = view.name;
  byId("prefix").replaceChildren(view.prefix);
  byId("output").replaceChildren(view.output);
  byId("facts").replaceChildren();
  const { start, ...defaults } = view.defaults;
  form.fit(model, view.unit, defaults);
  form.setStart(start);
  if (!params.has("seed")) form.drawSeed();
  form.read(params);
  view.read(params);
  expect();
  run({ keepSeed: true, quiet: true });
}

/** Keeps the place of the first result, so that nothing jumps when it comes. */
function expect() {
  const samples = form.expectedSamples();
  byId("title").textContent = view.title({ numSamples: samples, prefix: form.starts() === "prefix" });
  facts.expect(view.streams);
  view.expect(samples);
}

/** Asks for the models, and chooses the one that the link, or else the server's order, names. */
async function begin() {
  facts.calm();
  try {
    models = await api.models();
  } catch (error) {
    uncover();
    if (error.type === "no_worker") later();
    else facts.fail(error, begin);
    return;
  }
  const options = models.map(({ name, status }) => el("option", { value: name, disabled: status !== "ready" },
    status === "ready" ? name : `${name} (failed)`));
  byId("model").replaceChildren(...options);
  const ready = models.filter((model) => model.status === "ready");
  const params = new URLSearchParams(location.search);
  const asked = params.get("model");
  const model = ready.find(({ name }) => name === asked) ?? ready.find(isDigits) ?? ready[0];
  byId("generate").disabled = !model;
  if (model) choose(model, model.name === asked || !asked ? params : undefined);
  else facts.fail({ message: `The server has no model that works. ${models[0]?.error ?? ""}` }, begin);
  uncover();
  if (model && asked && model.name !== asked) facts.fail({ message: `There is no model '${asked}' here; this is '${model.name}'.` });
}

/** The server answers, but loads its models yet. */
function later() {
  facts.say("The server is loading its models. This page goes on by itself.");
  setTimeout(begin, 1000);
}

/** The page is shown once it is known which fields the model has. */
const uncover = () => document.querySelector("main").classList.remove("waiting");

/** What can be drawn is the best thing to begin with. */
const isDigits = (model) => model.image && model.observation.classes === 2;

function listen() {
  key.listen();
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  byId("model").addEventListener("change", (event) => choose(models.find(({ name }) => name === event.target.value)));
  byId("stop").addEventListener("click", stop);
  byId("link").addEventListener("click", copyLink);
  byId("draw-seed").addEventListener("click", () => {
    form.drawSeed();
    run({ keepSeed: true });
  });
  byId("warmth").addEventListener("input", (event) => (byId("temperature").value = event.target.value));
  byId("temperature").addEventListener("input", (event) => (byId("warmth").value = event.target.value));
  for (const radio of byId("form").elements.start) {
    radio.addEventListener("change", async () => {
      form.setStart(radio.value);
      if (radio.value === "prefix") await view.chosen();
      run({ keepSeed: true, quiet: true });
    });
  }
}

listen();
begin();
