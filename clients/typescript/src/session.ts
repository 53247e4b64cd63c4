/// <reference lib="esnext.disposable" preserve="true" />
// Sessions as objects: a sequence whose state the server keeps, to be continued at any later time.

import type { Client } from "./client.js";
import { NotFoundError } from "./errors.js";
import type { Generation, SessionInfo, StreamEvent } from "./models.js";
import type { Options, RequestOptions, ResumeOptions, StartOptions } from "./options.js";
import type { ArrayGeneration } from "./replies.js";

/**
 * A session. `await using session = client.session(...)` deletes it at the end of the block; otherwise the server
 * keeps it until it expires.
 */
export class Session {
  readonly #client: Client;
  readonly #start: StartOptions;
  #id: string | null;
  #version: number | null = null; // the last that was answered: the server must not fall behind it

  /** @internal */
  constructor(client: Client, start: string | StartOptions) {
    this.#client = client;
    [this.#id, this.#start] = typeof start === "string" ? [start, {}] : [null, start];
  }

  /** Whether there is something on the server. */
  get started(): boolean {
    return this.#id !== null;
  }

  /** The id. Throws Error before the first `resume`. */
  get id(): string {
    if (this.#id === null) throw new Error("the session has no id before its first resume: nothing is saved yet");
    return this.#id;
  }

  /** Go on, or begin: the next `length` steps, and what they left behind is saved. */
  async resume(options: ResumeOptions = {}, request: RequestOptions = {}): Promise<Generation> {
    return this.#saved(await this.#client.generate(this.#options(options), request));
  }

  /** `resume` chunk by chunk, `Done` last; only then the session has advanced. */
  async *stream(
    options: ResumeOptions = {},
    request: RequestOptions = {},
  ): AsyncGenerator<StreamEvent, void, undefined> {
    for await (const event of this.#client.stream(this.#options(options), request)) {
      yield event.event === "done" ? this.#saved(event) : event;
    }
  }

  /** `resume` as one array, (num_samples, steps, size). */
  async array(options: ResumeOptions = {}, request: RequestOptions = {}): Promise<ArrayGeneration> {
    return this.#saved(await this.#client.array(this.#options(options), request));
  }

  /** What the server has: position, seed, size, time of expiry. */
  async info(request: RequestOptions = {}): Promise<SessionInfo> {
    return this.#client.sessionInfo(this.id, request);
  }

  /** A copy under a new id, kept for `ttl_seconds`; both go on by themselves. */
  async fork(options: { ttl_seconds?: number | null } = {}, request: RequestOptions = {}): Promise<Session> {
    return this.#client.fork(this.id, options, request);
  }

  /** Forget it. */
  async delete(request: RequestOptions = {}): Promise<void> {
    return this.#client.delete(this.id, request);
  }

  /** Forgets it, if it was begun and is still there. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#id === null) return;
    try {
      await this.delete();
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
    }
  }

  #options(options: ResumeOptions): Options {
    if (this.#id === null) return { ...this.#start, ...options, save: true };
    return { ...options, session_id: this.#id, session_version: this.#version };
  }

  /** After each request that was answered; what is no JSON does not say the version. */
  #saved<T extends { readonly session_id: string | null; readonly session_version?: number | null }>(result: T): T {
    this.#id = result.session_id;
    const next = this.#version === null ? null : this.#version + 1;
    this.#version = result.session_version ?? next;
    return result;
  }
}
