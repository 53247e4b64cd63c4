// How data goes into the URL's query, short and without escapes. Knows nothing of the form.

/** Bytes as base64url; with `bits`, eight values of 0 or 1 a byte. */
export function pack(values, bits) {
  const bytes = bits ? packBits(values) : Uint8Array.from(values);
  const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** The inverse: `size` values, or null when the text is not of that size. */
export function unpack(text, size, bits) {
  let bytes;
  try {
    bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
  } catch {
    return null;
  }
  if (bytes.length !== (bits ? Math.ceil(size / 8) : size)) return null;
  return bits ? Uint8Array.from({ length: size }, (_, index) => (bytes[index >> 3] >> (index & 7)) & 1) : bytes;
}

function packBits(values) {
  const bytes = new Uint8Array(Math.ceil(values.length / 8));
  values.forEach((value, index) => {
    if (value) bytes[index >> 3] |= 1 << (index & 7);
  });
  return bytes;
}

/** Rows of numbers: columns parted by *, rows by _, neither of which a query escapes. */
export const packRows = (rows) => rows.map((row) => row.join("*")).join("_");
export const unpackRows = (text) => text.replaceAll("_", "\n").replaceAll("*", " ");
