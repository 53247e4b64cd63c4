// What can be asked for, and the JSON that asks for it.

import { isNdArray, type NdArray, type Nested, type TypedArray, toLists } from "./arrays.js";
import type { paths } from "./openapi.js";

type Body = paths["/generate"]["post"]["requestBody"]["content"]["application/json"];

/**
 * Observed steps that generation continues: (steps, size), as lists or an array; flat when size is 1; text for models
 * of text.
 */
export type Prefix = readonly (readonly number[] | TypedArray)[] | readonly number[] | TypedArray | NdArray | string;

/** What `generate` and its relatives take; what is left out takes the server's default. */
export interface Options extends Omit<Partial<Body>, "prefix" | "seed" | "stream"> {
  /** Observed steps that come first. */
  prefix?: Prefix | null;
  /** From 0 to 2^63 - 1, a bigint beyond 2^53; drawn and returned when absent. */
  seed?: number | bigint | null;
}

/** What a session keeps from its first request on. */
export interface StartOptions extends Pick<Options, "model" | "num_samples" | "seed"> {}

/** What each request of a session can choose. */
export interface ResumeOptions extends Omit<Options, keyof StartOptions | "session_id" | "session_version" | "save"> {}

/** How a single call is made. */
export interface RequestOptions {
  /** Ends the call, its tries and pauses; what waits for it is rejected with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Milliseconds for this call, instead of the client's own. */
  timeoutMs?: number | undefined;
  /** Your own name for this request, for trying it again in another process; by default a random one. */
  idempotencyKey?: string | undefined;
}

/** The JSON of a request. Throws TypeError or RangeError for what JSON has not. */
export function encode(options: Options, stream: boolean): string {
  const { seed, prefix, ...rest } = options;
  const more = stream ? { stream } : {};
  const text = JSON.stringify({ ...rest, prefix: plain(prefix), ...more }, (_, value: unknown) => sendable(value));
  if (seed === undefined || seed === null) return text;
  return `{"seed":${digits(seed)}${text === "{}" ? "" : ","}${text.slice(1)}`; // JSON.stringify has no bigints
}

function digits(seed: number | bigint): string {
  if (typeof seed === "number" && !Number.isSafeInteger(seed)) {
    throw new RangeError(`seed must be a whole number, a bigint where it is larger than 2^53, not ${seed}`);
  }
  return seed.toString();
}

function plain(prefix: Prefix | null | undefined): Nested | string | null | undefined {
  if (prefix === undefined || prefix === null || typeof prefix === "string") return prefix;
  if (isNdArray(prefix)) return toLists(prefix);
  return Array.from<number | bigint | readonly number[] | TypedArray, Nested>(prefix, (step) =>
    typeof step === "object" ? Array.from<number | bigint, number>(step, Number) : Number(step),
  );
}

function sendable(value: unknown): unknown {
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw new RangeError(`a request must have finite numbers only, not ${value}`);
  }
  return value;
}
