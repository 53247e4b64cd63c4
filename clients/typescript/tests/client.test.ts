// What the client gives when all is well, against a real server.

import { expect, test } from "vitest";
import { Client, join } from "../src/index.js";
import { Breaker } from "./breaker.js";
import { url } from "./server.js";
import { client, collected, last, metric, rows, until } from "./support.js";

test("generate is what the server says", async () => {
  const request = { model: "image", num_samples: 3, seed: 7 };
  const result = await client.generate(request);
  const response = await fetch(`${url}/generate`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(request),
  });
  const told = await response.json();
  expect(result.outputs).toEqual(told.outputs);
  expect([result.model, result.seed, result.position, result.session_id]).toEqual(["image", 7n, 8, null]);
  expect([result.fingerprint, result.usage]).toEqual([told.fingerprint, { prefix_steps: 0, generated_steps: 24 }]);
  expect(result.timings.total_ms).toBeGreaterThan(0);
});

test("seeds are exact beyond what a number holds", async () => {
  const seed = 2n ** 63n - 1n;
  const [result, stream] = [
    await client.generate({ model: "pixels", length: 40, seed }),
    await join(client.stream({ model: "pixels", length: 40, seed })),
  ];
  expect(result.seed).toBe(seed);
  expect(stream.seed).toBe(seed);
  expect(rows(await client.generate({ model: "pixels", length: 40, seed: seed - 1n }))).not.toEqual(rows(result));
  const array = await client.array({ model: "pixels", length: 40, seed, save: true });
  expect(array.seed).toBe(seed);
  expect((await client.session(array.session_id ?? "").info()).seed).toBe(seed);
  const drawn = await client.generate({ model: "pixels", length: 40 });
  expect(rows(await client.generate({ model: "pixels", length: 40, seed: drawn.seed }))).toEqual(rows(drawn));
  await expect(client.generate({ seed: 2 ** 60 })).rejects.toThrow(RangeError);
});

test("text, particles and quantiles", async () => {
  const text = await client.generate({ model: "text", prefix: "h\u00e9", length: 9, seed: 1 });
  expect(text.usage.prefix_steps).toBe(3);
  expect(text.outputs[0]?.text).toBe(new TextDecoder().decode(Uint8Array.from(rows(text) as number[])));
  const prefix = Array.from({ length: 9 }, () => [0, 1]);
  const [one, many] = [1, 16].map((num_particles) =>
    client.generate({ model: "series", prefix, seed: 2, num_particles }),
  );
  expect(rows((await one) as never)).not.toEqual(rows((await many) as never));
  const series = await client.generate({ model: "series", length: 3, num_samples: 4, quantiles: [0.25, 0.5] });
  expect(series.quantiles?.map(({ quantile, values }) => [quantile, values.length])).toEqual([
    [0.25, 3],
    [0.5, 3],
  ]);
});

test.each(["pixels", "text"])("a stream of %s gives the values of the whole", async (model) => {
  const request = { model, num_samples: 2, length: 500, seed: 3 };
  const events = await collected(client.stream(request));
  expect(events.length).toBeGreaterThan(3);
  expect(events.slice(0, -1).every((event) => event.event === "chunk")).toBe(true);
  expect(last(events).outputs).toEqual([0, 1].map((index) => ({ index, finish_reason: "length" })));
  const whole = await client.generate(request);
  expect((await join(events)).outputs).toEqual(whole.outputs);
  expect((await join(client.stream(request))).outputs).toEqual(whole.outputs);
});

test("quantiles of a stream are joined", async () => {
  const request = { model: "series", num_samples: 9, length: 400, seed: 1, quantiles: [0.1, 0.9] };
  const events = await collected(client.stream(request));
  expect(events.length).toBeGreaterThan(2);
  expect((await join(events)).quantiles).toEqual((await client.generate(request)).quantiles);
  await expect(join(events.slice(0, -1))).rejects.toThrow("whole stream");
});

test("leaving a stream cancels it", async () => {
  const before = await metric("vssm_requests_cancelled_total");
  for await (const event of client.stream({ model: "pixels", length: 100_000 })) {
    expect(event.event).toBe("chunk");
    break;
  }
  await until(async () => (await metric("vssm_requests_cancelled_total")) > before);
});

test("an aborted signal ends a request, a stream and a pause, with its reason", async () => {
  const before = await metric("vssm_requests_cancelled_total");
  const controller = new AbortController();
  const events = client.stream({ model: "pixels", length: 100_000 }, { signal: controller.signal });
  await events.next();
  controller.abort(new Error("enough"));
  await expect(collected(events)).rejects.toThrow("enough");
  await until(async () => (await metric("vssm_requests_cancelled_total")) > before);
  await expect(client.models({ signal: controller.signal })).rejects.toThrow("enough");
  const quick = AbortSignal.timeout(100);
  await expect(client.generate({ model: "pixels", length: 100_000 }, { signal: quick })).rejects.toThrow(
    expect.objectContaining({ name: "TimeoutError" }),
  );
});

test("a picture", async () => {
  const request = { model: "image", num_samples: 4, seed: 5 };
  const png = await client.png(request);
  expect(new TextDecoder("latin1").decode(png.bytes.subarray(1, 4))).toBe("PNG");
  expect((await client.png(request)).bytes).toEqual(png.bytes);
  expect([png.seed, png.session_id]).toEqual([5n, null]);
  expect(png.id).toMatch(/^gen_/);
  expect([png.blob().type, png.blob().size]).toEqual(["image/png", png.bytes.length]);
});

test("models", async () => {
  const models = Object.fromEntries((await client.models()).map((model) => [model.name, model]));
  expect(await client.model("image")).toEqual(models.image);
  expect(models.colour?.image).toEqual({ height: 4, width: 4, channels: 3 });
  expect(models.text?.observation?.classes).toBe(256);
  expect([models.truncated?.status, typeof models.truncated?.error]).toEqual(["failed", "string"]);
});

test("connections are used again", async () => {
  await using proxy = await Breaker.start();
  const through = new Client(proxy.url);
  for (let time = 0; time < 4; time++) {
    await through.generate({ model: "pixels", length: 2 });
    await collected(through.stream({ model: "pixels", length: 200 }));
    await through.models();
  }
  expect(proxy.connections).toBeLessThanOrEqual(2); // Node's fetch may open one while it is putting another back
});

test.each(["localhost:8000", "ftp://x", "http://", "http://x:y"])("%s is no address", (address) => {
  expect(() => new Client(address)).toThrow("baseUrl");
});

test("a server may stand below a path, want a key and headers of its own", async () => {
  const asked: string[] = [];
  const noted: typeof fetch = async (input, init) => {
    const headers = new Headers(init?.headers);
    asked.push(`${input} ${headers.get("authorization")} ${headers.get("x-tenant")}`);
    return fetch(`${url}/models`);
  };
  await new Client("https://host/below/", { fetch: noted, apiKey: "vssm_k", headers: { "X-Tenant": "me" } }).models();
  expect(asked).toEqual(["https://host/below/models Bearer vssm_k me"]);
  expect(() => new Client(url, { apiKey: "a b" })).toThrow("apiKey");
});

test("an id never leads to another path", async () => {
  for (const name of ["", ".", "..", "../models", "a/../b"]) {
    await expect(client.delete(name)).rejects.toThrow("session id");
    await expect(client.model(name)).rejects.toThrow("model must be");
  }
});
