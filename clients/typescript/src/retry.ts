// When a request is sent again, and how long after.
//
// What may pass by itself is tried again: a connection refused or broken, and the errors of the server that say so. A
// key makes that safe: however often a request arrives, it runs once. An error that would come again is thrown at once.

import { ClientError, ServerError } from "./errors.js";

export const FIRST_PAUSE_MS = 250;
export const LONGEST_PAUSE_MS = 8_000;

/** How often and how long: `retries` after the first try, all within `timeoutMs`. */
export interface Patience {
  readonly retries: number;
  readonly timeoutMs: number;
  readonly onRetry?: ((error: ClientError, pauseMs: number) => void) | undefined;
}

/** Throws RangeError. */
export function checkedPatience(patience: Patience): Patience {
  const { retries, timeoutMs } = patience;
  if (!(Number.isInteger(retries) && retries >= 0)) {
    throw new RangeError(`retries must be a whole number from 0, not ${retries}`);
  }
  if (!(timeoutMs > 0)) throw new RangeError(`timeoutMs must be more than 0, not ${timeoutMs}`);
  return patience;
}

/** The tries of one call. */
export class Tries {
  failed = 0;
  readonly #patience: Patience;
  #until = 0;

  constructor(patience: Patience) {
    this.#patience = patience;
    this.progress();
  }

  /** Something came: what is left starts anew. */
  progress(): void {
    this.failed = 0;
    this.#until = performance.now() + this.#patience.timeoutMs;
  }

  /** Milliseconds for the next try, or for what is still to come of this one. */
  get leftMs(): number {
    return Math.max(1, this.#until - performance.now());
  }

  /** Milliseconds to wait before the next try. Throws the error when there is none. */
  pauseMs(error: unknown): number {
    if (!(error instanceof ClientError && error.passing) || this.failed >= this.#patience.retries) throw error;
    const pause = pauseMs(this.failed, error);
    if (performance.now() + pause >= this.#until) throw error;
    this.failed += 1;
    this.#patience.onRetry?.(error, pause);
    return pause;
  }
}

/** Doubling and random, so that clients that failed together do not come back together; on top of Retry-After. */
export function pauseMs(failed: number, error: ClientError): number {
  const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failed);
  const asked = error instanceof ServerError ? (error.retryAfter ?? 0) : 0;
  return 1000 * asked + longest * (0.5 + Math.random() / 2);
}

/** Waits. Rejects with the signal's reason as soon as it is aborted. */
export function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const leave = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", leave);
      resolve();
    }, ms);
    signal?.addEventListener("abort", leave, { once: true });
  });
}
