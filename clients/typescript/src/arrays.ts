// Arrays: numpy's file format to typed arrays and back, and what JSON can say of them.

interface TypedArrays {
  int8: Int8Array;
  uint8: Uint8Array;
  int16: Int16Array;
  uint16: Uint16Array;
  int32: Int32Array;
  uint32: Uint32Array;
  int64: BigInt64Array;
  uint64: BigUint64Array;
  float32: Float32Array;
  float64: Float64Array;
}

/** The kinds of numbers that an array can have, by numpy's names. */
export type Dtype = keyof TypedArrays;

/** A typed array of any kind. */
export type TypedArray = TypedArrays[Dtype];

/** An array of any number of axes: the numbers in C order, and the extent of each axis. `dtype` tells the kind of `data`. */
export type NdArray = {
  [D in Dtype]: { readonly dtype: D; readonly data: TypedArrays[D]; readonly shape: readonly number[] };
}[Dtype];

/** Numbers in lists, as deep as the array has axes. */
export type Nested = number | Nested[];

const CONSTRUCTORS = {
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  float32: Float32Array,
  float64: Float64Array,
} as const;
const DTYPES = Object.keys(CONSTRUCTORS) as Dtype[];
const MAGIC = "\x93NUMPY";
const KINDS = { i: "int", u: "uint", f: "float", b: "uint" } as const; // numpy's booleans are bytes

/** The `index`th of the first axis, as numpy's `array[index]`; shares memory with the whole. Throws RangeError. */
export function at(array: NdArray, index: number): NdArray {
  const [count = 0, ...shape] = array.shape;
  if (!(Number.isInteger(index) && index >= 0 && index < count)) {
    throw new RangeError(`the index must be a whole number from 0 to ${count - 1}, not ${index}`);
  }
  const size = product(shape);
  return { dtype: array.dtype, data: array.data.subarray(index * size, (index + 1) * size), shape } as NdArray;
}

/** The numbers in lists, as `tolist` of numpy; those of int64 as ordinary numbers. */
export function toLists(array: NdArray): Nested {
  const [count, ...rest] = array.shape;
  if (count === undefined) return Number(array.data[0]);
  if (rest.length === 0) return Array.from<number | bigint, number>(array.data, Number);
  return Array.from({ length: count }, (_, index) => toLists(at(array, index)));
}

/** Lists of equal lengths as an array of float32, (steps, size) or with the samples first. Throws TypeError. */
export function fromLists(lists: Nested): NdArray {
  const shape: number[] = [];
  for (let first: Nested | undefined = lists; Array.isArray(first); first = first[0]) shape.push(first.length);
  const data = new Float32Array(product(shape));
  let filled = 0;
  const fill = (part: Nested, depth: number): void => {
    if (!Array.isArray(part)) data[filled++] = part;
    else for (const each of part) fill(each, depth + 1);
    if ((Array.isArray(part) ? part.length : undefined) !== shape[depth]) {
      throw new TypeError("the lists must be of equal lengths on each axis");
    }
  };
  fill(lists, 0);
  return { dtype: "float32", data, shape };
}

/** The array in a file of numpy's format (.npy). Throws TypeError when it is none, or not of plain numbers in C order. */
export function parseNpy(file: Uint8Array | ArrayBuffer): NdArray {
  const bytes = file instanceof Uint8Array ? file : new Uint8Array(file);
  if (bytes.length < 12 || latin(bytes.subarray(0, 6)) !== MAGIC) throw new TypeError("no file of numpy's format");
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const wide = view.getUint8(6) > 1; // of version 2 and later: the length of the header takes four bytes
  const begin = wide ? 12 : 10;
  const end = begin + (wide ? view.getUint32(8, true) : view.getUint16(8, true));
  const { dtype, shape } = described(latin(bytes.subarray(begin, end)));
  const kind = CONSTRUCTORS[dtype];
  const size = product(shape) * kind.BYTES_PER_ELEMENT;
  if (bytes.length < end + size) throw new TypeError(`the file of numpy's format is cut short: ${bytes.length} bytes`);
  const aligned = (bytes.byteOffset + end) % kind.BYTES_PER_ELEMENT === 0;
  const content = aligned ? bytes.subarray(end, end + size) : bytes.slice(end, end + size);
  return { dtype, data: new kind(content.buffer as ArrayBuffer, content.byteOffset, product(shape)), shape } as NdArray;
}

/** An array as a file of numpy's format (.npy). */
export function toNpy(array: NdArray): Uint8Array {
  const kind = array.dtype.startsWith("u") ? "u" : array.dtype.startsWith("i") ? "i" : "f";
  const { BYTES_PER_ELEMENT: width, byteLength, byteOffset, buffer } = array.data;
  const shape = array.shape.map((extent) => `${extent},`).join(" ");
  const head = `{'descr': '${width === 1 ? "|" : "<"}${kind}${width}', 'fortran_order': False, 'shape': (${shape}), }`;
  const padded = head.padEnd(64 * Math.ceil((10 + head.length + 1) / 64) - 11); // so that the numbers are aligned
  const bytes = new Uint8Array(11 + padded.length + byteLength);
  bytes.set(Array.from(`${MAGIC}\x01\x00`, (letter) => letter.charCodeAt(0)));
  new DataView(bytes.buffer).setUint16(8, padded.length + 1, true);
  bytes.set(new TextEncoder().encode(`${padded}\n`), 10);
  bytes.set(new Uint8Array(buffer, byteOffset, byteLength), 11 + padded.length);
  return bytes;
}

/** Whether a value is an NdArray. */
export function isNdArray(value: unknown): value is NdArray {
  return typeof value === "object" && value !== null && "shape" in value && "data" in value;
}

function described(header: string): { dtype: Dtype; shape: number[] } {
  const [, order, kind, bytes] = /'descr': '([<>|])([iufb])(\d)'/.exec(header) ?? [];
  const shape = /'shape': \(([\d, ]*)\)/.exec(header)?.[1];
  const name = `${KINDS[kind as keyof typeof KINDS]}${8 * Number(bytes)}`;
  const dtype = DTYPES.find((each) => each === name);
  if (dtype === undefined || shape === undefined || order === ">" || !header.includes("'fortran_order': False")) {
    throw new TypeError(`only little-endian numbers in C order can be read, not ${header.trim().slice(0, 200)}`);
  }
  return {
    dtype,
    shape: shape
      .split(",")
      .filter((extent) => extent.trim())
      .map(Number),
  };
}

function product(shape: readonly number[]): number {
  return shape.reduce((whole, extent) => whole * extent, 1);
}

function latin(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}
