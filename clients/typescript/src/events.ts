// Streams: events from bytes, and the whole from its parts.

import { errorOf } from "./errors.js";
import type { Chunk, Done, Generation, Output, Quantile, StreamEvent, Values } from "./models.js";
import { isGeneration, parsed } from "./replies.js";

/** Server-sent events from bytes; `read` gives a Chunk, or Done, or throws a ServerError. */
export class EventReader {
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #event = "message";
  #data: string[] = [];
  #rest: string[] = []; // of a line that is not yet whole

  /** What these bytes complete. */
  *read(bytes: Uint8Array): Generator<StreamEvent, void, undefined> {
    const [first = "", ...others] = this.#decoder.decode(bytes, { stream: true }).split("\n");
    this.#rest.push(first);
    for (const other of others) {
      const line = this.#rest.join("");
      this.#rest = [other];
      yield* this.#line(line.endsWith("\r") ? line.slice(0, -1) : line);
    }
  }

  *#line(line: string): Generator<StreamEvent, void, undefined> {
    if (line.startsWith("event:")) this.#event = line.slice(6).trim();
    else if (line.startsWith("data:")) this.#data.push(line.slice(5));
    else if (line === "" && this.#data.length > 0) {
      const [event, data] = [this.#event, this.#data.join("\n")];
      [this.#event, this.#data] = ["message", []];
      if (event === "chunk") yield { event, ...parsed<Omit<Chunk, "event">>(data, isChunk) };
      else if (event === "done") yield { event, ...parsed<Omit<Done, "event">>(data, isGeneration) };
      else if (event === "error") throw errorOf(500, data);
    }
  }
}

function isChunk(value: object): boolean {
  const { position, outputs } = value as Partial<Chunk>;
  return typeof position === "number" && Array.isArray(outputs);
}

/**
 * The whole result of a stream: what `Done` says, with the values, texts and quantiles of all chunks. Takes what
 * `stream` gives, or a list of its events. Throws TypeError when the last event is missing.
 */
export async function join(events: AsyncIterable<StreamEvent> | Iterable<StreamEvent>): Promise<Generation> {
  const chunks: Chunk[] = [];
  for await (const event of events) {
    if (event.event === "done") return joined(chunks, event);
    chunks.push(event);
  }
  throw new TypeError("these are not the events of one whole stream: the last one must be `done`");
}

function joined(chunks: Chunk[], { event: _, ...done }: Done): Generation {
  const outputs = done.outputs.map((output): Output => {
    const parts = chunks.map((chunk) => chunk.outputs[output.index]).filter((part) => part !== undefined);
    const values = concatenated(parts.map((part) => part.values));
    // not the texts: they lack a character that the end of the stream has cut
    const text = parts.some((part) => part.text !== undefined) ? textOf(values) : null;
    return { ...output, values, text };
  });
  const levels = chunks.map((chunk) => chunk.quantiles ?? []);
  const quantiles = levels[0]?.map(
    ({ quantile }, index): Quantile => ({
      quantile,
      values: concatenated(levels.map((level) => level[index]?.values ?? [])),
    }),
  );
  return { ...done, outputs, quantiles: quantiles?.length ? quantiles : null };
}

function concatenated(parts: readonly Values[]): Values {
  return (parts as number[][]).flat(1) as Values;
}

function textOf(values: Values): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(values as number[]));
}
