// Sessions as objects.

import { expect, test } from "vitest";
import { Client, ConflictError, NotFoundError, toLists } from "../src/index.js";
import { url } from "./server.js";
import { client, collected, last, rows } from "./support.js";

test("begin, resume and fork", async () => {
  const start = { model: "image", num_samples: 2, seed: 9 };
  const whole = await client.generate(start);
  const session = client.session(start);
  expect(session.started).toBe(false);
  const half = await session.resume({ length: 4, ttl_seconds: 100 });
  const copy = await session.fork({ ttl_seconds: 50 });
  const rest = await session.resume();
  const ways = half.outputs.map(({ values }, index) => [...values, ...(rest.outputs[index]?.values ?? [])]);
  expect(ways).toEqual(whole.outputs.map(({ values }) => values));
  expect(rows(await copy.resume())).toEqual(rows(rest));
  expect(copy.id).not.toBe(session.id);
  const info = await client.session(session.id).info();
  expect([info.position, info.num_samples, info.seed, info.model]).toEqual([8, 2, 9n, "image"]);
  const seconds = (info.expires.getTime() - info.created.getTime()) / 1000;
  expect(seconds).toBeGreaterThan(80);
  expect(seconds).toBeLessThanOrEqual(110);
  await copy.delete();
  await expect(copy.info()).rejects.toThrow(NotFoundError);
  await expect(client.fork(copy.id)).rejects.toThrow(NotFoundError);
});

test("a block deletes what it began", async () => {
  let id: string;
  {
    await using session = client.session({ model: "pixels" });
    await session.resume({ length: 3 });
    id = session.id;
    expect((await client.sessionInfo(id)).position).toBe(3);
  }
  await expect(client.sessionInfo(id)).rejects.toThrow(NotFoundError);
  await using never = client.session({ model: "pixels" });
  await expect(never.fork()).rejects.toThrow("before its first resume");
  await using early = client.session({ model: "pixels" });
  await early.resume({ length: 3 });
  await early.delete();
});

test("streams and arrays begin and advance it", async () => {
  await using session = client.session({ model: "pixels", seed: 1 });
  const done = last(await collected(session.stream({ length: 300 })));
  expect(done.session_id).toBe(session.id);
  const array = await session.array({ length: 5 });
  expect(array.session_id).toBe(session.id);
  expect((await session.resume({ length: 0, prefix: [0, 1] })).position).toBe(307);
  const whole = await client.generate({ model: "pixels", seed: 1, length: 305 });
  expect(toLists(array.values)).toEqual([
    rows(whole)
      .slice(300)
      .map((value) => [value]),
  ]);
});

test("an id brings its own seed", async () => {
  const { session_id } = await client.generate({ model: "pixels", length: 2, save: true });
  await expect(client.generate({ session_id, seed: 2n ** 62n })).rejects.toThrow(ConflictError);
});

test("a session sends the version that it saw last, and an older state is refused", async () => {
  const bodies: { session_version?: number | null }[] = [];
  const watched = new Client(url, {
    fetch: (input, init) => {
      if (init?.method === "POST") bodies.push(JSON.parse(String(init.body)));
      return fetch(input, init);
    },
  });
  await using session = watched.session({ model: "pixels", seed: 3 });
  expect((await session.resume({ length: 2 })).session_version).toBe(1);
  await session.array({ length: 2 });
  expect(last(await collected(session.stream({ length: 2 }))).session_version).toBe(3);
  expect(bodies.map((body) => body.session_version)).toEqual([undefined, 1, 2]);
  expect((await session.info()).version).toBe(3);
  const ahead = client.generate({ session_id: session.id, session_version: 4 });
  await expect(ahead).rejects.toMatchObject({ name: "ConflictError", type: "state_untrusted" });
});
