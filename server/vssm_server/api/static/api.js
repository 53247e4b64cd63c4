// The API of this server, and its errors in words. Paths are relative: the server may stand below a prefix.

import * as key from "./key.js";
import { events } from "./sse.js";

/** What the API, or the way to it, says is wrong; `param` names the field, `retryAfter` is in seconds. */
export class ApiError extends Error {
  constructor({ message, type = "unknown", param = null, retryAfter = null }) {
    super(message);
    Object.assign(this, { type, param, retryAfter });
  }
}

export const models = async () => (await json("models")).models;
export const session = (id) => json(`sessions/${id}`);
export const fork = (id) => json(`sessions/${id}/fork`, { method: "POST" });
export const forget = (id) => answered(`sessions/${id}`, { method: "DELETE" });

/** POST /generate; `request.seed` is a string of digits, since a seed may exceed what a number holds exactly. */
export const generate = (request, signal) => json("generate", post(request, signal));

/** The same as a stream: `onChunk({position, outputs, quantiles})` for each chunk; returns what `done` says. */
export async function stream(request, onChunk, signal) {
  const response = await answered("generate", post({ ...request, stream: true }, signal));
  try {
    for await (const { event, data } of events(response.body)) {
      if (event === "chunk") onChunk(data);
      else if (event === "done") return data;
      else if (event === "error") throw new ApiError(data.error);
    }
  } catch (error) {
    if (error instanceof ApiError || error.name === "AbortError") throw error;
  }
  throw new ApiError({ message: "The connection broke before the end of the stream. Generate again." });
}

function post({ seed, ...request }, signal) {
  const fields = JSON.stringify(request);
  const body = seed === undefined ? fields : `${fields.slice(0, -1)}${fields === "{}" ? "" : ","}"seed":${seed}}`;
  return { method: "POST", body, headers: { "Content-Type": "application/json" }, signal };
}

const json = async (path, options) => (await answered(path, options)).json();

async function answered(path, options = {}) {
  const response = await sent(path, options);
  if (response.ok) return response;
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  const body = await response.json().catch(() => null);
  const error = body?.error ?? { message: `The server answered with status ${response.status}.` };
  if (response.status === 401 && (await key.ask(error.message))) return answered(path, options);
  throw new ApiError({ ...error, retryAfter });
}

async function sent(path, options) {
  try {
    return await fetch(path, { ...options, headers: { ...options.headers, ...key.headers() } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ message: "The server cannot be reached. Is it still running?", type: "unreachable" });
  }
}
