// What the server answers, in the types of its own openapi.json. Seeds are bigints: they may be larger than 2^53.

import type { components } from "./openapi.js";

type Schemas = components["schemas"];

/** Values of one sequence: (steps, size), flat when size is 1. */
export type Values = Schemas["Output"]["values"];

/** One of the samples. */
export type Output = Schemas["Output"];

/** A quantile over the samples, at each step. */
export type Quantile = Schemas["Quantile"];

/** Steps observed and generated. */
export type Usage = Schemas["Usage"];

/** Parallel passes that a model in exact mode took. */
export type Passes = Schemas["PassesResponse"];

/** Milliseconds spent. */
export type Timings = Schemas["Timings"];

/** A model that the server knows; with `status` "failed" it has only a `name` and the `error`. */
export type Model = Schemas["ModelResponse"];

/** What a value of a model is. */
export type Observation = Schemas["ObservationResponse"];

/** Extent of a whole sequence as an image. */
export type ImageShape = Schemas["ImageResponse"];

/** The result of a request. */
export interface Generation extends Omit<Schemas["GenerateResponse"], "seed"> {
  /** As it was given or drawn; the same seed makes the same values. */
  seed: bigint;
}

/** Of one sample, the steps of a chunk. */
export interface ChunkOutput extends Pick<Output, "index" | "values"> {
  /** For models of text; a character that is cut in two comes with its second half. */
  text?: string;
}

/** A part of a stream. */
export interface Chunk {
  /** Tells it from the last event, which is `Done`. */
  event: "chunk";
  /** Steps of a sequence so far, those of this chunk included. */
  position: number;
  /** The new steps of all samples. */
  outputs: ChunkOutput[];
  /** Of the new steps, where they were asked for. */
  quantiles?: Quantile[] | null;
}

/** The last event of a stream: the result without the values, which the chunks had. */
export interface Done extends Omit<Generation, "outputs" | "quantiles"> {
  /** Tells it from a `Chunk`. */
  event: "done";
  /** The samples. */
  outputs: Pick<Output, "index" | "finish_reason">[];
}

/** What a stream gives: any number of chunks, and then `Done`. */
export type StreamEvent = Chunk | Done;

/** What is saved under an id, and until when. */
export interface SessionInfo extends Omit<Schemas["SessionResponse"], "seed" | "created" | "expires"> {
  /** Of all its requests. */
  seed: bigint;
  /** When its state was saved first. */
  created: Date;
  /** When it will be forgotten. */
  expires: Date;
}
