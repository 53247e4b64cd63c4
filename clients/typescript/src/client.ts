// `Client`: every method one call, sent until it is answered.

import {
  allModels,
  asArray,
  asGeneration,
  asPng,
  asStream,
  type Call,
  fork,
  type Key,
  ofSession,
  oneModel,
  remove,
} from "./calls.js";
import { Delivery } from "./delivery.js";
import { type ClientError, ConnectionError } from "./errors.js";
import { EventReader } from "./events.js";
import { Limit } from "./limit.js";
import type { Generation, Model, SessionInfo, StreamEvent } from "./models.js";
import type { Options, RequestOptions, StartOptions } from "./options.js";
import { type ArrayGeneration, check, type Png } from "./replies.js";
import { checkedPatience, type Patience, sleep, Tries } from "./retry.js";
import { Session } from "./session.js";

/** How a client behaves. */
export interface ClientOptions {
  /**
   * Milliseconds that a call may take, all its tries and pauses included; in a stream, between two events. By default
   * 130,000: a little more than the server's own deadline, whose answer says more.
   */
  timeoutMs?: number | undefined;
  /** How often a call is tried again when it may then succeed, by default 4; with 0 no Idempotency-Key is sent either. */
  retries?: number | undefined;
  /** Where the server wants one; it is sent as `Authorization: Bearer`. Never put one into a public page. */
  apiKey?: string | undefined;
  /** Sent with every request, for example what a gateway asks for. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** What carries requests; by default the global `fetch`. */
  fetch?: typeof globalThis.fetch | undefined;
  /** Told of every retry: after which error, and the milliseconds before it. */
  onRetry?: ((error: ClientError, pauseMs: number) => void) | undefined;
}

/**
 * A server. Every method throws a `ClientError` when it fails, and what an aborted signal says.
 *
 * Connections are kept and used again by `fetch` itself; there is nothing to close.
 */
export class Client {
  readonly #url: string;
  readonly #patience: Patience;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #fetch: typeof globalThis.fetch;

  /** `baseUrl` is where the server is, http:// or https://; on a page of its own it is `location.origin`. */
  constructor(baseUrl = "http://127.0.0.1:8000", options: ClientOptions = {}) {
    const { timeoutMs = 130_000, retries = 4, apiKey, headers = {}, onRetry } = options;
    this.#url = checkedUrl(baseUrl);
    this.#patience = checkedPatience({ timeoutMs, retries, onRetry });
    this.#headers = { ...(apiKey === undefined ? {} : { authorization: `Bearer ${checkedKey(apiKey)}` }), ...headers };
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init)); // a browser's wants to be called as a function
  }

  /** Generate, complete a prefix, or resume a session. */
  async generate(options: Options = {}, request: RequestOptions = {}): Promise<Generation> {
    return this.#send(asGeneration(options, this.#key(request)), request);
  }

  /**
   * `generate` in chunks as they are made, and last `Done`.
   *
   * Nothing is sent before the first event is asked for. After a break the stream goes on where it was, without a gap
   * and without a repetition. Leaving the loop cancels the request: then nothing is saved.
   */
  async *stream(options: Options = {}, request: RequestOptions = {}): AsyncGenerator<StreamEvent, void, undefined> {
    const [call, delivery] = [asStream(options, this.#key(request)), new Delivery()];
    const tries = new Tries(this.#patienceOf(request));
    while (!delivery.done) {
      try {
        for await (const event of this.#events(call, tries, delivery, request.signal)) {
          tries.progress();
          yield event;
          tries.progress(); // what the caller took is its own time
        }
      } catch (error) {
        if (delivery.done) return;
        await sleep(tries.pauseMs(error), request.signal);
      }
    }
  }

  /** `generate` as one array, (num_samples, steps, size), sent as npy. */
  async array(options: Options = {}, request: RequestOptions = {}): Promise<ArrayGeneration> {
    return this.#send(asArray(options, this.#key(request)), request);
  }

  /** `generate` as a PNG picture, the samples in a grid; for models of images. */
  async png(options: Options = {}, request: RequestOptions = {}): Promise<Png> {
    return this.#send(asPng(options, this.#key(request)), request);
  }

  /** A saved session by its id, or a new one, which its first `resume` makes. Asks the server nothing yet. */
  session(start: string | StartOptions = {}): Session {
    return new Session(this, start);
  }

  /** What is saved under an id. */
  async sessionInfo(id: string, request: RequestOptions = {}): Promise<SessionInfo> {
    return this.#send(ofSession(id), request);
  }

  /** A copy of a session under a new id, kept for `ttl_seconds`; both go on by themselves. */
  async fork(
    id: string,
    options: { ttl_seconds?: number | null } = {},
    request: RequestOptions = {},
  ): Promise<Session> {
    return this.session((await this.#send(fork(id, options, this.#key(request)), request)).id);
  }

  /** Forget a session. */
  async delete(id: string, request: RequestOptions = {}): Promise<void> {
    return this.#send(remove(id), request);
  }

  /** All models that the server knows, by name. */
  async models(request: RequestOptions = {}): Promise<Model[]> {
    return this.#send(allModels(), request);
  }

  /** One of them. */
  async model(name: string, request: RequestOptions = {}): Promise<Model> {
    return this.#send(oneModel(name), request);
  }

  async #send<T>(call: Call<T>, request: RequestOptions): Promise<T> {
    const tries = new Tries(this.#patienceOf(request));
    for (;;) {
      const limit = new Limit(request.signal);
      try {
        const response = await limit.during(this.#ask(call, limit), tries.leftMs);
        const content = await limit.during(response.arrayBuffer(), tries.leftMs);
        const answer = { status: response.status, headers: response.headers, content };
        if (!(call.ends && tries.failed > 0 && response.status === 404)) check(answer);
        return call.read(answer);
      } catch (error) {
        await sleep(tries.pauseMs(error), request.signal);
      } finally {
        limit.end();
      }
    }
  }

  async *#events(
    call: Call<void>,
    tries: Tries,
    delivery: Delivery,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<StreamEvent, void, undefined> {
    const [limit, reader] = [new Limit(signal), new EventReader()];
    try {
      const response = await limit.during(this.#ask(call, limit), tries.leftMs);
      const { status, headers } = response;
      if (!response.ok) {
        check({ status, headers, content: await limit.during(response.arrayBuffer(), tries.leftMs) });
      }
      delivery.connected();
      const body = (response.body ?? new Blob().stream()).getReader();
      for (;;) {
        const { value, done } = await limit.during(body.read(), tries.leftMs);
        if (done) break; // only here, so that the connection can be used again
        for (const event of reader.read(value)) {
          const fresh = delivery.fresh(event);
          if (fresh !== null) yield fresh;
        }
      }
      if (!delivery.done) throw new ConnectionError("the stream ended before its last event");
    } finally {
      limit.end();
    }
  }

  async #ask(call: Call<unknown>, limit: Limit): Promise<Response> {
    const { method, body } = call;
    const headers = { ...this.#headers, ...call.headers };
    const init = { method, headers, signal: limit.signal };
    return this.#fetch(this.#url + call.path, body === undefined ? init : { ...init, body });
  }

  #key(request: RequestOptions): Key {
    return { given: request.idempotencyKey, wanted: this.#patience.retries > 0 };
  }

  #patienceOf({ timeoutMs = this.#patience.timeoutMs }: RequestOptions): Patience {
    return checkedPatience({ ...this.#patience, timeoutMs });
  }
}

function checkedKey(key: string): string {
  if (!/^[!-~]+$/.test(key)) throw new TypeError("apiKey must be printable ASCII without spaces");
  return key;
}

function checkedUrl(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) {
    throw new TypeError(`baseUrl must be as in http://127.0.0.1:8000, with http:// or https://, not "${url}"`);
  }
  return url.replace(/\/+$/, "");
}
