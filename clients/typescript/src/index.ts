/**
 * TypeScript client of the VSSM generation server: `Client`, what it answers and what it throws.
 *
 * @packageDocumentation
 */

export {
  at,
  type Dtype,
  fromLists,
  type NdArray,
  type Nested,
  parseNpy,
  type TypedArray,
  toLists,
  toNpy,
} from "./arrays.js";
export { Client, type ClientOptions } from "./client.js";
export {
  AnswerError,
  ClientError,
  ConflictError,
  ConnectionError,
  type ErrorType,
  FailedError,
  InvalidError,
  KeyRefusedError,
  NotFoundError,
  ServerError,
  TimedOutError,
  TransportError,
  UnavailableError,
} from "./errors.js";
export { join } from "./events.js";
export type {
  Chunk,
  ChunkOutput,
  Done,
  Generation,
  ImageShape,
  Model,
  Observation,
  Output,
  Passes,
  Quantile,
  SessionInfo,
  StreamEvent,
  Timings,
  Usage,
  Values,
} from "./models.js";
export type { Options, Prefix, RequestOptions, ResumeOptions, StartOptions } from "./options.js";
export type { ArrayGeneration, Png } from "./replies.js";
export type { Session } from "./session.js";
