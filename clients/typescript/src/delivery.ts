// What of a stream has been delivered. After a break it is sent from its beginning again, maybe cut otherwise.
//
// The values are the same, as the server promises for a request with a key; so what was delivered is dropped.

import type { Chunk, ChunkOutput, StreamEvent, Values } from "./models.js";

/** One for each stream, however many connections it takes. */
export class Delivery {
  done = false;
  #position: number | null = null;
  readonly #told = new Map<number, number>(); // characters of each output's text that were delivered
  readonly #heard = new Map<number, number>(); // ... and that this connection has brought

  /** The stream begins, or begins again. */
  connected(): void {
    this.#heard.clear();
  }

  /** The part of an event that was not delivered before, if any. */
  fresh(event: StreamEvent): StreamEvent | null {
    if (event.event === "done") {
      this.done = true;
      return event;
    }
    const texts = event.outputs.map((output) => this.#text(output));
    const steps = Math.max(0, ...event.outputs.map((output) => output.values.length));
    const old = this.#position === null ? 0 : Math.max(0, this.#position - (event.position - steps));
    if (this.#position !== null && old >= steps) return null;
    this.#position = event.position;
    return cut(event, old, texts);
  }

  #text({ index, text }: ChunkOutput): string | undefined {
    if (text === undefined) return undefined;
    const before = this.#heard.get(index) ?? 0;
    const told = this.#told.get(index) ?? 0;
    this.#heard.set(index, before + text.length);
    this.#told.set(index, Math.max(told, before + text.length));
    return text.slice(Math.max(0, told - before));
  }
}

function cut(chunk: Chunk, old: number, texts: readonly (string | undefined)[]): Chunk {
  const rest = <T extends { values: Values }>(part: T): T => ({ ...part, values: part.values.slice(old) });
  const outputs = chunk.outputs.map((output, index) => {
    const text = texts[index];
    return text === undefined ? rest(output) : { ...rest(output), text };
  });
  return chunk.quantiles ? { ...chunk, outputs, quantiles: chunk.quantiles.map(rest) } : { ...chunk, outputs };
}
