// Reading events, and going on after a break.

import { expect, test } from "vitest";
import { Delivery } from "../src/delivery.js";
import { EventReader } from "../src/events.js";
import type { Chunk } from "../src/index.js";
import { AnswerError, UnavailableError } from "../src/index.js";

const bytes = (text: string) => new TextEncoder().encode(text);

test("an error in a stream is thrown", () => {
  const error = '{"error": {"type": "deadline_exceeded", "message": "m", "param": null, "code": 504}}';
  expect(() => [...new EventReader().read(bytes(`event: error\ndata: ${error}\n\n`))]).toThrow(UnavailableError);
  expect(() => [...new EventReader().read(bytes("event: chunk\ndata: {}\n\n"))]).toThrow(AnswerError);
});

test.each([1, 7, 10_000])("only line feeds end lines, in parts of %i bytes", (size) => {
  const text = "a\u2028b\u0085\u2029\u00e9\u{1f600}";
  const data = `{"position": 3, "outputs": [{"index": 0, "values": [1], "text": "${text}"}]}`;
  const all = bytes(`: ping\n\nevent: chunk\r\nid: 3\r\ndata: ${data}\r\n\r\n`.repeat(2));
  const reader = new EventReader();
  const events = Array.from({ length: Math.ceil(all.length / size) }, (_, part) => [
    ...reader.read(all.subarray(part * size, (part + 1) * size)),
  ]).flat();
  expect(events.map((event) => event.event === "chunk" && event.outputs[0]?.text)).toEqual([text, text]);
});

/** One output of ASCII text and its quantile, cut at some places. */
function chunks(text: string, cuts: number[], start: number): Chunk[] {
  const ends = [...new Set([...cuts.map((cut) => cut % text.length), text.length])].filter((end) => end > 0);
  ends.sort((a, b) => a - b);
  return ends.map((end, index) => {
    const part = text.slice(ends[index - 1] ?? 0, end);
    const values = [...bytes(part)];
    const quantiles = [{ quantile: 0.5, values }];
    return { event: "chunk", position: start + end, outputs: [{ index: 0, values, text: part }], quantiles };
  });
}

test("however a stream is cut and broken, it is delivered once", () => {
  const whole = (below: number) => Math.floor(Math.random() * below);
  for (let time = 0; time < 500; time++) {
    const text = Array.from({ length: 1 + whole(30) }, () => "abc"[whole(3)]).join("");
    const [delivery, delivered] = [new Delivery(), [] as Chunk[]];
    const connections = Array.from({ length: 1 + whole(4) }, () => chunks(text, [whole(99), whole(99), whole(99)], 5));
    connections.forEach((sent, index) => {
      delivery.connected();
      for (const chunk of index === connections.length - 1 ? sent : sent.slice(0, whole(4))) {
        const fresh = delivery.fresh(chunk);
        if (fresh?.event === "chunk") delivered.push(fresh);
      }
    });
    expect(delivered.map((chunk) => chunk.outputs[0]?.text).join("")).toBe(text);
    expect(delivered.flatMap((chunk) => chunk.outputs[0]?.values as number[])).toEqual([...bytes(text)]);
    expect(delivered.flatMap((chunk) => chunk.quantiles?.[0]?.values as number[])).toEqual([...bytes(text)]);
    expect(delivered.at(-1)?.position).toBe(5 + text.length);
  }
});
