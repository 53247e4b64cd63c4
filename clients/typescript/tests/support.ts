// What several tests need.

import { Client, type ClientOptions, type Generation, type StreamEvent, type Values } from "../src/index.js";
import { url } from "./server.js";

/** Of the server for everybody. */
export const client = new Client(url);

/** The values of all samples, one after another. */
export function rows(result: Pick<Generation, "outputs"> | StreamEvent): Values {
  return result.outputs.flatMap((output) => ("values" in output ? (output.values as number[][]) : []));
}

/** All that a stream gives. */
export async function collected(events: AsyncIterable<StreamEvent>): Promise<StreamEvent[]> {
  const all: StreamEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

/** The last event of a stream, which must be `done`. */
export function last(events: readonly StreamEvent[]): StreamEvent & { event: "done" } {
  const event = events.at(-1);
  if (event?.event !== "done") throw new Error(`the last event is ${event?.event}`);
  return event;
}

/** A request as `fetch` was given it, and when. */
export interface Sent {
  readonly key: string | null;
  readonly body: unknown;
  readonly at: number;
}

/** A client whose `fetch` answers as told, and what it was given. */
export function scripted(answers: readonly Response[], options: ClientOptions = {}): { client: Client; sent: Sent[] } {
  const [left, sent] = [[...answers], [] as Sent[]];
  const answer = async (_: unknown, init: RequestInit = {}): Promise<Response> => {
    sent.push({ key: new Headers(init.headers).get("idempotency-key"), body: init.body, at: performance.now() });
    return left.shift() ?? new Response("no more answers", { status: 418 });
  };
  return { client: new Client(url, { ...options, fetch: answer }), sent };
}

/** An error reply. */
export function refusal(status: number, type: string, headers: Record<string, string> = {}): Response {
  return Response.json({ error: { type, message: "m", param: null, code: status } }, { status, headers });
}

/** A metric of the server, summed over its labels. */
export async function metric(name: string): Promise<number> {
  const lines = (await (await fetch(`${url}/metrics`)).text()).split("\n");
  const found = lines.filter((line) => line.split(/[{ ]/, 1)[0] === name);
  return found.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

/** Waits until a condition holds. */
export async function until(condition: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 60_000;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error("it did not happen in time");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
