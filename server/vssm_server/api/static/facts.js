// What the page says about a result: position, size of the state, time.

import { byId, count, el, ms, narrow, place, plural } from "./dom.js";

const NAMES = ["Position", "State", "Generated in", "Server", "Queued", "Browser", "First chunk", "Seed"];

/** Keeps the place of the facts that will come. */
export function expect(streams) {
  const names = NAMES.filter((name) => streams || name !== "First chunk");
  byId("facts").replaceChildren(...names.map((name) => el("div", {}, el("dt", {}, name), el("dd", {}, "…"))));
}

/** Fills the list of facts; `took` is what the browser measured, milliseconds. */
export function show(answer, sequence, seed, took, firstChunk) {
  const { model, numSamples } = sequence;
  const { queue_ms, generate_ms, total_ms } = answer.timings;
  const facts = [
    ["Position", place(answer.position, model), "position"],
    ["State", `${count(model.state_bytes * numSamples)} bytes`, "state"],
    ...(answer.passes ? [["Passes", passes(answer.passes), "passes"]] : []),
    ["Generated in", ms(generate_ms), "generate"],
    ["Server", ms(total_ms), "total"],
    ["Queued", ms(queue_ms), "queue"],
    ["Browser", ms(took), "took"],
    ...(firstChunk ? [["First chunk", ms(firstChunk), "first"]] : []),
    ["Seed", seed, "seed-used"],
  ];
  byId("facts").replaceChildren(...facts.map(([name, value, key]) =>
    el("div", {}, el("dt", {}, name), el("dd", { "data-fact": key }, value))));
  say(`${plural(answer.usage.generated_steps, "step")} in ${ms(total_ms)}.`, `${plural(sequence.numSamples, "sample")}, `);
}

/** Of a model in exact mode: their mean, and whether the values are what more of them would have made. */
const passes = ({ mean, approximate }) => `${Number(mean.toFixed(1))}${approximate ? ", approximate" : ""}`;

/** A sentence for eyes and screen readers; only these are told `unseen`, which stands in the heading already. */
export const say = (text, unseen = "") => {
  byId("status").replaceChildren(el("span", { class: "unseen" }, unseen), text);
};

/** An error in words, with what to do. */
export function fail(error, again) {
  const wait = error.retryAfter ? ` (The server asks to wait ${plural(error.retryAfter, "second")}.)` : "";
  byId("error").replaceChildren(el("p", {}, `${error.message}${wait}`),
    again ? el("button", { type: "button", click: again }, "Try again") : "");
  say("That did not work.");
  if (narrow()) byId("error").scrollIntoView({ block: "nearest" });
}

export const calm = () => byId("error").replaceChildren();
