// What ends a try before its answer is whole: its caller's signal, or the time that is up.

import { ConnectionError, TimedOutError } from "./errors.js";

const LONGEST_TIMER_MS = 2 ** 31 - 1; // a longer one would ring at once

/** The signal of one try. */
export class Limit {
  readonly #controller = new AbortController();
  readonly #given: AbortSignal | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #forward = () => this.#controller.abort(this.#given?.reason);

  constructor(given: AbortSignal | undefined) {
    given?.throwIfAborted();
    this.#given = given;
    given?.addEventListener("abort", this.#forward);
  }

  /** For `fetch`. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The result of work on the network, for which there are so many milliseconds. Throws this package's errors. */
  async during<T>(work: Promise<T>, ms: number): Promise<T> {
    const late = () => this.#controller.abort(new TimedOutError("there was no answer in time"));
    this.#timer = setTimeout(late, Math.min(ms, LONGEST_TIMER_MS));
    try {
      return await work;
    } catch (error) {
      throw this.signal.aborted ? this.signal.reason : broken(error);
    } finally {
      clearTimeout(this.#timer);
    }
  }

  /** Closes the connection unless its answer is whole. */
  end(): void {
    this.#given?.removeEventListener("abort", this.#forward);
    this.#controller.abort();
  }
}

function broken(error: unknown): ConnectionError {
  const reasons = [error, error instanceof Error ? error.cause : undefined].filter((each) => each instanceof Error);
  const said = reasons.map((each) => each.message || ("code" in each ? String(each.code) : each.name)).join(": ");
  return new ConnectionError(`the server was not reached, or the connection broke: ${said}`, { cause: error });
}
