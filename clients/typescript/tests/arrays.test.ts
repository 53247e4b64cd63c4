// Arrays in and out.

import { expect, test } from "vitest";
import { at, fromLists, type NdArray, parseNpy, toLists, toNpy } from "../src/index.js";
import { encode } from "../src/options.js";
import { client } from "./support.js";

test.each([
  ["image", [2, 8, 8], "uint8"],
  ["series", [2, 32, 2], "float32"],
  ["colour", [2, 4, 12], "uint8"],
])("npy of %s has the values of JSON", async (model, shape, dtype) => {
  const { values, id } = await client.array({ model, num_samples: 2, seed: 3 });
  const told = await client.generate({ model, num_samples: 2, seed: 3 });
  const lists = told.outputs.map((output) => output.values);
  expect([values.shape, values.dtype]).toEqual([shape, dtype]);
  expect(id).toMatch(/^gen_/);
  // the JSON of a float32 is a number that only as float32 is the same
  expect(fromLists(toLists(values))).toEqual(fromLists(lists));
  expect([0, 1].map((index) => toLists(at(values, index)))).toEqual(toLists(values));
});

test("arrays as prefixes", async () => {
  const steps = Array.from({ length: 9 }, (_, step) => [Math.fround(Math.sin(step)), step / 4]);
  const told = (await client.generate({ model: "series", prefix: steps, seed: 1 })).outputs;
  const array = fromLists(steps);
  for (const prefix of [array, parseNpy(toNpy(array)), steps.map((step) => Float32Array.from(step))]) {
    expect((await client.generate({ model: "series", prefix, seed: 1 })).outputs).toEqual(told);
  }
  const bits = { model: "pixels", length: 40, seed: 4 };
  const flat = (await client.generate({ ...bits, prefix: [0, 1, 1] })).outputs;
  for (const prefix of [Uint8Array.of(0, 1, 1), BigInt64Array.of(0n, 1n, 1n)]) {
    expect((await client.generate({ ...bits, prefix })).outputs).toEqual(flat);
  }
  const first = await client.array({ model: "series", num_samples: 2, length: 9, seed: 8 });
  const continued = await client.generate({ model: "series", prefix: at(first.values, 1), length: 3 });
  expect(continued.usage.prefix_steps).toBe(9);
});

test.each<NdArray>([
  { dtype: "uint8", data: Uint8Array.of(1, 2, 255), shape: [3] },
  { dtype: "int64", data: BigInt64Array.of(-1n, 2n ** 62n), shape: [2, 1] },
  { dtype: "float32", data: Float32Array.of(0.5, -1, 3, 4, 5, 6), shape: [1, 3, 2] },
  { dtype: "float64", data: Float64Array.of(0.1), shape: [] },
  { dtype: "uint16", data: Uint16Array.of(), shape: [0, 7] },
])("$dtype of shape $shape goes through a file", (array) => {
  const file = toNpy(array);
  expect(parseNpy(file)).toEqual(array);
  const shifted = new Uint8Array(file.length + 1); // not aligned
  shifted.set(file, 1);
  expect(parseNpy(shifted.subarray(1))).toEqual(array);
  expect(() => parseNpy(file.subarray(0, 100))).toThrow(TypeError);
});

test("what is no array of plain numbers is refused", () => {
  const file = toNpy({ dtype: "float32", data: Float32Array.of(1), shape: [1] });
  const text = new TextDecoder("latin1").decode(file);
  const changed = (from: string, to: string) => Uint8Array.from(text.replace(from, to), (c) => c.charCodeAt(0));
  for (const [from, to] of [
    ["<f4", ">f4"],
    ["<f4", "|O8"],
    ["False", "True "],
  ] as const) {
    expect(() => parseNpy(changed(from, to))).toThrow("only little-endian numbers");
  }
  expect(() => parseNpy(new Uint8Array(200))).toThrow("no file of numpy's format");
  expect(() => fromLists([[1, 2], [3]])).toThrow("equal lengths");
  expect(() => at({ dtype: "int8", data: Int8Array.of(1), shape: [1] }, 1)).toThrow(RangeError);
});

test("the JSON of a request", () => {
  expect(encode({}, false)).toBe("{}");
  expect(encode({ seed: 1 }, true)).toBe('{"seed":1,"stream":true}');
  expect(encode({ seed: 2n ** 63n - 1n, model: "a" }, false)).toBe('{"seed":9223372036854775807,"model":"a"}');
  expect(encode({ seed: 5 }, false)).toBe('{"seed":5}');
  for (const prefix of [[Number.NaN], Float64Array.of(Number.POSITIVE_INFINITY), [[0, Number.NaN]]]) {
    expect(() => encode({ prefix }, false)).toThrow("finite numbers");
  }
});
