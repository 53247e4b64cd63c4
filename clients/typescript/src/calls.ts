// One `Call` for each thing that a server can be asked. Does no input or output itself.

import type { Generation, Model, SessionInfo } from "./models.js";
import { encode, type Options } from "./options.js";
import {
  type Answer,
  type ArrayGeneration,
  array,
  generation,
  model,
  models,
  type Png,
  png,
  session,
} from "./replies.js";

/** A request that may be sent several times, each time with the same bytes and key, and how to read its answer. */
export interface Call<T> {
  readonly method: "GET" | "POST" | "DELETE";
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly read: (answer: Answer) => T;
  /** Deletes: when an earlier try may have arrived, "not found" means that it is done. */
  readonly ends?: boolean;
}

/** What a client adds to a request that may be sent again; `given` is a key of the user's. */
export interface Key {
  readonly given: string | undefined;
  readonly wanted: boolean;
}

/** The result as JSON. */
export const asGeneration = (options: Options, key: Key): Call<Generation> =>
  generating(options, key, "application/json", generation);

/** The result as npy. */
export const asArray = (options: Options, key: Key): Call<ArrayGeneration> =>
  generating(options, key, "application/x-npy", array);

/** The result as a picture. */
export const asPng = (options: Options, key: Key): Call<Png> => generating(options, key, "image/png", png);

/** The result as events; events.ts reads them. */
export const asStream = (options: Options, key: Key): Call<void> =>
  generating(options, key, "text/event-stream", nothing, true);

/** What is saved. */
export const ofSession = (id: string): Call<SessionInfo> => get(sessionPath(id), session);

/** A copy under a new id. */
export function fork(id: string, options: { ttl_seconds?: number | null }, key: Key): Call<SessionInfo> {
  const headers = { ...JSON_BODY, ...keyHeader(key) };
  return { method: "POST", path: sessionPath(id, "/fork"), headers, body: JSON.stringify(options), read: session };
}

/** Forget a session. */
export const remove = (id: string): Call<void> => ({
  method: "DELETE",
  path: sessionPath(id),
  headers: {},
  read: nothing,
  ends: true,
});

/** All models. */
export const allModels = (): Call<Model[]> => get("/models", models);

/** One model; a name may have a slash, as in owner/name. */
export const oneModel = (name: string): Call<Model> => get(`/models/${segment("model", name, /%(2F|40)/g)}`, model);

const JSON_BODY = { "content-type": "application/json" };
const MAX_KEY_LENGTH = 255;

function get<T>(path: string, read: (answer: Answer) => T): Call<T> {
  return { method: "GET", path, headers: {}, read };
}

function generating<T>(
  options: Options,
  key: Key,
  accept: string,
  read: (answer: Answer) => T,
  stream = false,
): Call<T> {
  const headers = { ...JSON_BODY, accept, ...keyHeader(key) };
  return { method: "POST", path: "/generate", headers, body: encode(options, stream), read };
}

/** Where a session is. Throws RangeError for an id that would lead elsewhere. */
function sessionPath(id: string, action = ""): string {
  return `/sessions/${segment("session id", id)}${action}`;
}

function segment(what: string, name: string, allowed: RegExp | null = null): string {
  if (!name.split("/").every((part) => /[^.]/.test(part))) {
    throw new RangeError(`${what} must be the name of one, not ${JSON.stringify(name)}`);
  }
  const quoted = encodeURIComponent(name);
  return allowed === null ? quoted : quoted.replace(allowed, decodeURIComponent);
}

function keyHeader({ given, wanted }: Key): Record<string, string> {
  if (given === undefined) return wanted ? { "idempotency-key": randomKey() } : {};
  if (!/^[ -~]+$/.test(given) || given.length > MAX_KEY_LENGTH) {
    throw new RangeError(`idempotencyKey must be 1 to ${MAX_KEY_LENGTH} printable ASCII characters, not "${given}"`);
  }
  return { "idempotency-key": given };
}

/** `crypto.randomUUID` is missing on pages that came by http. */
function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function nothing(): void {}
