// Whole answers of any kind to results, error answers to errors.

import { type NdArray, parseNpy } from "./arrays.js";
import { AnswerError, errorOf } from "./errors.js";
import type { Generation, Model, SessionInfo } from "./models.js";

/** An answer that has come to its end. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly content: ArrayBuffer;
}

interface Head {
  /** Of the request. */
  readonly id: string;
  /** As it was given or drawn. */
  readonly seed: bigint;
  /** Where the final state was saved, if it was. */
  readonly session_id: string | null;
}

/** The result of a request as one array, (num_samples, steps, size), in the model's own dtype. */
export interface ArrayGeneration extends Head {
  /** uint8 or int64 for whole numbers, float32 for others. */
  readonly values: NdArray;
}

/** The samples as a picture: all in one grid. */
export interface Png extends Head {
  /** The PNG file. */
  readonly bytes: Uint8Array;
  /** The same for `URL.createObjectURL`, forms and canvases. */
  blob(): Blob;
}

const PNG_SIGNATURE = [0x89, 0x50, 0x4e, 0x47];
const SHOWN = 200; // characters of an answer that nobody expected

/** Throws the error of an answer that is one. */
export function check(answer: Answer): void {
  if (answer.status >= 200 && answer.status < 300) return;
  throw errorOf(answer.status, textOf(answer.content), answer.headers.get("retry-after"));
}

/** The JSON of a result. Throws AnswerError. */
export function generation(answer: Answer): Generation {
  return parsed(textOf(answer.content), isGeneration);
}

/** JSON with the seeds in it as bigints. Throws AnswerError when it is none, or `right` says no. */
export function parsed<T>(text: string, right: (value: object) => boolean): T {
  let value: unknown;
  try {
    // within a string the quotes would have backslashes before them
    value = JSON.parse(text.replace(/"seed":\s*(\d+)/g, '"seed":"$1"'), (name, each: unknown) =>
      name === "seed" && typeof each === "string" ? BigInt(each) : each,
    );
  } catch (error) {
    throw unexpected(text, error);
  }
  if (typeof value !== "object" || value === null || !right(value)) throw unexpected(text, "it has other fields");
  return value as T;
}

/** Whether a value has what results have, with outputs or without values. */
export function isGeneration(value: object): boolean {
  const { seed, position, outputs } = value as Partial<Generation>;
  return typeof seed === "bigint" && typeof position === "number" && Array.isArray(outputs);
}

/** An npy answer. Throws AnswerError. */
export function array(answer: Answer): ArrayGeneration {
  try {
    return { ...head(answer), values: parseNpy(answer.content) };
  } catch (error) {
    throw unexpected(textOf(answer.content.slice(0, SHOWN)), error);
  }
}

/** A PNG answer. Throws AnswerError. */
export function png(answer: Answer): Png {
  const bytes = new Uint8Array(answer.content);
  if (!PNG_SIGNATURE.every((byte, index) => bytes[index] === byte)) {
    throw unexpected(textOf(answer.content.slice(0, SHOWN)), "no PNG file");
  }
  return { ...head(answer), bytes, blob: () => new Blob([answer.content], { type: "image/png" }) };
}

/** What a session is. Throws AnswerError. */
export function session(answer: Answer): SessionInfo {
  const right = (value: object) => typeof (value as SessionInfo).seed === "bigint" && "expires" in value;
  const info = parsed<SessionInfo>(textOf(answer.content), right);
  return { ...info, created: new Date(info.created), expires: new Date(info.expires) };
}

/** One model. Throws AnswerError. */
export function model(answer: Answer): Model {
  return parsed(textOf(answer.content), (value) => "name" in value && "status" in value);
}

/** All models. Throws AnswerError. */
export function models(answer: Answer): Model[] {
  const right = (value: object) => Array.isArray((value as { models?: unknown }).models);
  return parsed<{ models: Model[] }>(textOf(answer.content), right).models;
}

/** The error for an answer that no VSSM server gives. */
export function unexpected(text: string, why: unknown): AnswerError {
  const reason = why instanceof Error ? why.message : String(why);
  return new AnswerError(`not an answer of a VSSM server (${reason}): ${text.slice(0, SHOWN)}`);
}

function head({ headers }: Answer): Head {
  const seed = headers.get("x-vssm-seed");
  if (seed === null || !/^\d+$/.test(seed)) throw new AnswerError("not an answer of a VSSM server: it has no seed");
  return {
    id: headers.get("x-vssm-id") ?? "",
    seed: BigInt(seed),
    session_id: headers.get("x-vssm-session"),
  };
}

function textOf(content: ArrayBuffer): string {
  return new TextDecoder().decode(content);
}
