// Trying again: through connections that really break, against a server that really counts.

import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test as sequential } from "vitest";
import { Client, type ClientError, ConnectionError, join, TimedOutError, TransportError } from "../src/index.js";
import { FIRST_PAUSE_MS, pauseMs } from "../src/retry.js";
import { Breaker, nobody } from "./breaker.js";
import { url } from "./server.js";
import { client, collected, last, refusal, rows, scripted } from "./support.js";

const test = sequential.concurrent; // most of the time is pauses
const LONG = 2_000; // steps, in many chunks

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A server that answers with what it is told to `say`. */
async function slow(): Promise<AsyncDisposable & { url: string; say: (text: string) => void }> {
  const asked: ServerResponse[] = [];
  const server = createServer((_, response) => {
    response.flushHeaders();
    asked.push(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    say: (text) => void asked[0]?.write(text),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

test("a session advances once however often the answer is lost", async () => {
  await using session = client.session({ model: "pixels", seed: 1 });
  await session.resume({ length: 5 });
  await using proxy = await Breaker.start([0, 0, 20]);
  const told: ClientError[] = [];
  const result = await new Client(proxy.url, { onRetry: (error) => told.push(error) })
    .session(session.id)
    .resume({ length: 7 });
  expect(proxy.connections).toBe(4);
  expect(told.map((error) => error.name)).toEqual(Array(3).fill("ConnectionError"));
  expect(result.position).toBe(12);
  expect((await session.info()).position).toBe(12);
  expect(rows(result)).toEqual(rows(await client.generate({ model: "pixels", length: 12, seed: 1 })).slice(5));
});

test("the control without retries", async () => {
  await using proxy = await Breaker.start([0]);
  const impatient = new Client(proxy.url, { retries: 0 });
  await expect(impatient.generate({ model: "pixels", length: 5 })).rejects.toThrow(ConnectionError);
});

test("a fork is one copy and a deletion is one", async () => {
  const session = client.session({ model: "pixels" });
  await session.resume({ length: 5 });
  await using forking = await Breaker.start([0, 0]);
  const key = { idempotencyKey: `ts-fork-${Math.random()}` };
  const copy = await new Client(forking.url).fork(session.id, {}, key);
  expect(forking.connections).toBe(3);
  expect((await client.fork(session.id, {}, key)).id).toBe(copy.id);
  await using deleting = await Breaker.start([0]);
  await new Client(deleting.url).delete(session.id); // the first answer is lost, the second finds nothing: it is done
  expect(deleting.connections).toBe(2);
  await copy.delete();
});

test.each([[[0]], [[700]], [[3000, 2000]], [[100, 100, 100]]])(
  "a stream broken after %o bytes goes on",
  async (cuts) => {
    for (const model of ["pixels", "text"]) {
      await using proxy = await Breaker.start(cuts);
      // without a seed: the key has the server draw the same one again
      const events = await collected(new Client(proxy.url).stream({ model, length: LONG, num_samples: 2 }));
      expect(proxy.connections).toBe(cuts.length + 1);
      const positions = events.flatMap((event) => (event.event === "chunk" ? [event.position] : []));
      expect(positions).toEqual([...new Set(positions)].sort((a, b) => a - b));
      const whole = await client.generate({ model, length: LONG, num_samples: 2, seed: last(events).seed });
      expect((await join(events)).outputs).toEqual(whole.outputs);
      const text = events.map((event) => (event.event === "chunk" ? (event.outputs[0]?.text ?? "") : "")).join("");
      const all = whole.outputs[0]?.text ?? "";
      expect(all.startsWith(text)).toBe(true);
      expect(all.length - text.length).toBeLessThanOrEqual(1); // a character that was cut at the very end
    }
  },
);

test("a stream that stays broken is an error after the events that came", async () => {
  await using proxy = await Breaker.start([3000]);
  const events = new Client(proxy.url, { retries: 0 }).stream({ model: "pixels", length: LONG });
  expect((await events.next()).value?.event).toBe("chunk");
  await expect(collected(events)).rejects.toThrow(ConnectionError);
});

test("a stream that ends early, and begins again cut otherwise, is delivered once", async () => {
  const chunk = (position: number, text: string) => {
    const values = [...new TextEncoder().encode(text)];
    return `event: chunk\ndata: ${JSON.stringify({ position, outputs: [{ index: 0, values, text }] })}\n\n`;
  };
  const done = `event: done\ndata: {"seed":1,"position":6,"outputs":[{"index":0,"finish_reason":"length"}]}\n\n`;
  const parts = [chunk(3, "abc"), chunk(2, "ab") + chunk(4, "cd") + chunk(6, "ef") + done];
  const { client: patient } = scripted(parts.map((part) => new Response(part)));
  const events = await collected(patient.stream());
  expect(events.map((event) => event.event === "chunk" && event.outputs[0]?.text)).toEqual(["abc", "d", "ef", false]);
  expect((await join(events)).outputs[0]).toMatchObject({ values: [97, 98, 99, 100, 101, 102], text: "abcdef" });
  const { client: impatient } = scripted([new Response(chunk(3, "abc"))], { retries: 0 });
  await expect(collected(impatient.stream())).rejects.toThrow("ended before its last event");
});

test("a server that comes late is waited for", async () => {
  const late = await nobody();
  const models = new Client(late, { retries: 6 }).models();
  await pause(500);
  await using _ = await Breaker.start([], Number(new URL(late).port));
  expect(await models).not.toHaveLength(0);
});

test("a refused connection says so", async () => {
  const impatient = new Client(await nobody(), { retries: 1 });
  for (const ask of [() => impatient.models(), () => impatient.generate(), () => collected(impatient.stream())]) {
    await expect(ask()).rejects.toThrow(/not reached.*ECONNREFUSED/);
  }
});

test("a timeout is for all tries", async () => {
  const long = { model: "pixels", length: 100_000 };
  await expect(client.generate(long, { timeoutMs: 200 })).rejects.toThrow(TimedOutError);
  const hurried = new Client(await nobody(), { timeoutMs: 1_000, retries: 1_000 });
  const began = performance.now();
  await expect(hurried.models()).rejects.toThrow(TransportError);
  expect(performance.now() - began).toBeLessThan(30_000); // a thousand retries would take hours
  for (const wrong of [{ timeoutMs: 0 }, { retries: -1 }, { retries: 1.5 }]) {
    expect(() => new Client(url, wrong)).toThrow(RangeError);
  }
});

test("in a stream the time is that between two events, without its caller's own", async () => {
  await using server = await slow();
  const events = new Client(server.url, { timeoutMs: 1_500 }).stream();
  for (const position of [1, 2]) {
    const next = events.next();
    await pause(200);
    server.say(`event: chunk\ndata: {"position": ${position}, "outputs": [{"index": 0, "values": [1]}]}\n\n`);
    expect((await next).value).toMatchObject({ position });
    await pause(position === 1 ? 1_600 : 0);
  }
  await expect(events.next()).rejects.toThrow(TimedOutError);
});

test("Retry-After is waited, the key and the body stay", async () => {
  const models = Response.json({ models: [] });
  const patient = scripted([
    refusal(503, "shutting_down", { "retry-after": "1" }),
    new Response("<html>", { status: 502 }),
    models,
  ]);
  expect(await patient.client.models()).toEqual([]);
  const [first, second] = patient.sent.map(({ at }) => at);
  expect((second ?? 0) - (first ?? 0)).toBeGreaterThanOrEqual(1000);
  for (const [retries, keys] of [
    [1, 1],
    [0, 0],
  ] as const) {
    const { client, sent } = scripted([refusal(429, "queue_full"), refusal(429, "queue_full")], { retries });
    await expect(client.generate({ seed: 1 })).rejects.toMatchObject({ type: "queue_full" });
    expect(sent.length).toBe(retries + 1);
    expect(new Set(sent.flatMap(({ key }) => key ?? [])).size).toBe(keys);
    expect(new Set(sent.map(({ body }) => body)).size).toBe(1);
  }
});

test("each call has its own key, or yours", async () => {
  const { client, sent } = scripted([1, 2, 3].map(() => refusal(422, "invalid_value")));
  for (const request of [{}, {}, { idempotencyKey: "mine" }]) {
    await expect(client.generate({}, request)).rejects.toMatchObject({ type: "invalid_value" });
  }
  expect(sent[0]?.key).toMatch(/^[0-9a-f]{32}$/);
  expect(sent[0]?.key).not.toBe(sent[1]?.key);
  expect([sent[2]?.key, sent[2]?.body]).toEqual(["mine", "{}"]);
  for (const idempotencyKey of ["", "x".repeat(256), "caf\u00e9", "a\nb"]) {
    await expect(client.generate({}, { idempotencyKey })).rejects.toThrow("idempotencyKey");
  }
});

test.each([
  [503, "model_failed"],
  [504, "deadline_exceeded"],
  [500, "internal_error"],
  [409, "session_conflict"],
])("%i %s would come again and is not tried again", async (status, type) => {
  const { client, sent } = scripted([refusal(status, type, { "retry-after": "1" })]);
  await expect(client.generate()).rejects.toMatchObject({ type });
  expect(sent.length).toBe(1);
});

test("an aborted signal ends a pause", async () => {
  const { client, sent } = scripted([refusal(503, "no_worker", { "retry-after": "60" })]);
  await expect(client.models({ signal: AbortSignal.timeout(50) })).rejects.toMatchObject({ name: "TimeoutError" });
  expect(sent.length).toBe(1);
});

test("pauses grow", () => {
  const error = new ConnectionError("m");
  expect(pauseMs(0, error)).toBeLessThanOrEqual(FIRST_PAUSE_MS);
  expect(pauseMs(3, error)).toBeGreaterThanOrEqual(4 * FIRST_PAUSE_MS);
  expect(pauseMs(5000, error)).toBeLessThanOrEqual(8_000);
});
