// Every error of the server is thrown as what it is.

import { describe, expect, test } from "vitest";
import { errorOf, secondsOf } from "../src/errors.js";
import * as vssm from "../src/index.js";
import { url } from "./server.js";
import { client, collected, scripted } from "./support.js";

describe.each([
  [{ model: "pixels", num_samples: 0 }, vssm.InvalidError, "invalid_value", "num_samples"],
  [{ model: "minst" }, vssm.NotFoundError, "model_not_found", null],
  [{ session_id: `sess_${"0".repeat(32)}` }, vssm.NotFoundError, "session_not_found", null],
  [{ model: "truncated" }, vssm.UnavailableError, "model_failed", null],
  [{ model: "exploding" }, vssm.FailedError, "non_finite_output", null],
])("%o", (options, kind, type, param) => {
  test.each([
    ["generate", () => client.generate(options)],
    ["array", () => client.array(options)],
    ["stream", () => collected(client.stream(options))],
  ])("%s", async (_, ask) => {
    const error = await (ask() as Promise<unknown>).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(kind);
    expect(error).toMatchObject({ type, ...(param === null ? {} : { param }) });
    expect((error as Error).name).toBe(kind.name);
  });
});

test("every kind by its status, and what is passing", () => {
  const body = (type: string, code: number) => JSON.stringify({ error: { type, message: "m", param: "p", code } });
  const full = errorOf(429, body("queue_full", 429), "3");
  expect(full).toMatchObject({
    status: 429,
    type: "queue_full",
    message: "m",
    param: "p",
    retryAfter: 3,
    passing: true,
  });
  const kinds = [
    [418, "ServerError"],
    [422, "InvalidError"],
    [401, "KeyRefusedError"],
    [403, "KeyRefusedError"],
    [404, "NotFoundError"],
    [409, "ConflictError"],
    [500, "FailedError"],
    [503, "UnavailableError"],
    [507, "UnavailableError"],
  ] as const;
  for (const [code, name] of kinds) {
    const error = errorOf(code, body("newer", code));
    expect([error.name, error.type, error.passing]).toEqual([name, "newer", name === "UnavailableError"]);
  }
  for (const type of ["deadline_exceeded", "model_failed"]) expect(errorOf(503, body(type, 503)).passing).toBe(false);
  expect(errorOf(502, "<html>")).toMatchObject({ name: "UnavailableError", type: "unknown", passing: true });
});

test("Retry-After is seconds or a date", () => {
  expect([secondsOf("7"), secondsOf(null), secondsOf("soon")]).toEqual([7, null, null]);
  const seconds = secondsOf(new Date(Date.now() + 100_000).toUTCString());
  expect(seconds).toBeGreaterThan(90);
  expect(seconds).toBeLessThanOrEqual(100);
});

test("a picture of what has none, a key for two requests", async () => {
  await expect(client.png({ model: "text", length: 3 })).rejects.toMatchObject({ type: "not_acceptable" });
  const request = { idempotencyKey: `ts-errors-${Math.random()}` };
  await client.generate({ model: "pixels", length: 1 }, request);
  await expect(client.generate({ model: "pixels", length: 2 }, request)).rejects.toMatchObject({
    type: "idempotency_mismatch",
  });
});

test("what is no server of ours", async () => {
  await expect(new vssm.Client(`${url}/livez`).models()).rejects.toMatchObject({ type: "not_found" });
  for (const answer of ["<html>", "[1]", "null", "{}"]) {
    for (const ask of ["models", "generate", "array", "png"] as const) {
      const { client } = scripted([new Response(answer)]);
      await expect(client[ask]()).rejects.toThrow("not an answer of a VSSM server");
    }
  }
});
