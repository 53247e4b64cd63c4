// What can go wrong.
//
// ClientError
// +-- TransportError                no whole answer came
// |   +-- ConnectionError           the server was not reached, or the connection broke before the end of the answer
// |   +-- TimedOutError             there was no answer in time
// +-- AnswerError                   an answer that no VSSM server gives
// +-- ServerError                   an error of the server: type, message, param, status, retryAfter
//     +-- InvalidError              400, 405, 406, 413, 414, 415, 422, 431: the request must be changed
//     +-- KeyRefusedError           401, 403: the API key is missing, unknown, or lacks the scope
//     +-- NotFoundError             404: no such model, session or path
//     +-- ConflictError             409: the session does not go with the request
//     +-- FailedError               500: generation failed, or the server has a bug
//     +-- UnavailableError          429, 502, 503, 504, 507: the same request may succeed later

import type { components } from "./openapi.js";

type Body = components["schemas"]["ErrorResponse"]["error"];

/** The types of errors that the server's own description lists. */
export type ErrorType = Body["type"];

/** Anything this package throws by itself, but for wrong arguments (TypeError, RangeError) and an aborted signal. */
export class ClientError extends Error {
  /** Whether the same request, sent again with its key, may well succeed; the client then does that. */
  readonly passing: boolean = false;
  /** Of the class, also where a minifier has shortened that. */
  override readonly name: string = "ClientError";
}

/** No whole answer came. */
export class TransportError extends ClientError {
  override readonly name: string = "TransportError";
}

/** The server was not reached, or the connection broke before the answer, or the stream, was whole. */
export class ConnectionError extends TransportError {
  override readonly name: string = "ConnectionError";
  override readonly passing = true;
}

/** There was no answer within `timeoutMs`. The request may run on; a saved session tells by its position. */
export class TimedOutError extends TransportError {
  override readonly name: string = "TimedOutError";
}

/** What answers at that address is no VSSM server, or one of another version. */
export class AnswerError extends ClientError {
  override readonly name: string = "AnswerError";
}

/** An error reply of the server. */
export class ServerError extends ClientError {
  override readonly name: string = "ServerError";
  /** Stable; "unknown" when the answer was no error of this server, as of a gateway before it. */
  readonly type: ErrorType | "unknown" | (string & Record<never, never>);
  /** The field of the request that it is about. */
  readonly param: string | null;
  /** The status of HTTP. */
  readonly status: number;
  /** Seconds that the server asks to wait, where it does. */
  readonly retryAfter: number | null;
  /** What the server's log calls the request. */
  readonly requestId: string | null;
  override readonly passing: boolean;

  /** @internal */
  constructor(body: ErrorBody, retryAfter: number | null, passing: boolean) {
    super(body.message);
    this.type = body.type;
    this.param = body.param;
    this.status = body.code;
    this.retryAfter = retryAfter;
    this.requestId = body.request_id;
    this.passing = passing;
  }
}

/** The request must be changed. */
export class InvalidError extends ServerError {
  override readonly name: string = "InvalidError";
}

/** The API key is missing or unknown, or lacks the scope for this. */
export class KeyRefusedError extends ServerError {
  override readonly name: string = "KeyRefusedError";
}

/** No such model, session or path. */
export class NotFoundError extends ServerError {
  override readonly name: string = "NotFoundError";
}

/** The session is being advanced by another request, or does not go with this one. */
export class ConflictError extends ServerError {
  override readonly name: string = "ConflictError";
}

/** Generation failed, or the server has a bug. */
export class FailedError extends ServerError {
  override readonly name: string = "FailedError";
}

/** The same request may succeed later, after `retryAfter` seconds if the server named them. */
export class UnavailableError extends ServerError {
  override readonly name: string = "UnavailableError";
}

/** The inside of an error reply; a newer server may have further types. */
export type ErrorBody = Omit<Body, "type"> & { type: string };

/** Errors of the kind Unavailable that stay: the deadline passed, or somebody has to mend the checkpoint. */
const LASTING: readonly string[] = ["deadline_exceeded", "model_failed"] satisfies ErrorType[];

const KINDS: readonly (readonly [readonly number[], typeof ServerError])[] = [
  [[400, 405, 406, 413, 414, 415, 422, 431], InvalidError],
  [[401, 403], KeyRefusedError],
  [[404], NotFoundError],
  [[409], ConflictError],
  [[500], FailedError],
  [[429, 502, 503, 504, 507], UnavailableError],
];

/** The error for a body; one that is none has the type "unknown". */
export function errorOf(status: number, text: string, retryAfter: string | null = null): ServerError {
  const unknown = { type: "unknown", message: `not an error of this server: ${text.slice(0, 200)}` };
  const body = bodyOf(text) ?? { ...unknown, param: null, request_id: null, code: status };
  const kind = KINDS.find(([codes]) => codes.includes(body.code))?.[1] ?? ServerError;
  const passing = kind === UnavailableError && !LASTING.includes(body.type);
  return new kind(body, secondsOf(retryAfter), passing);
}

/** A Retry-After header, seconds or a date, as seconds from now. */
export function secondsOf(retryAfter: string | null): number | null {
  if (retryAfter === null) return null;
  if (/^\d+$/.test(retryAfter)) return Number(retryAfter);
  const date = Date.parse(retryAfter);
  return Number.isNaN(date) ? null : Math.max(0, (date - Date.now()) / 1000);
}

function bodyOf(text: string): ErrorBody | null {
  try {
    const { type, message, param = null, request_id = null, code } = JSON.parse(text).error;
    const right = typeof type === "string" && typeof message === "string" && typeof code === "number";
    return right ? { type, message, param, request_id, code } : null;
  } catch {
    return null;
  }
}
