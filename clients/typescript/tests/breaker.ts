// A TCP proxy that breaks connections: the nth after so many bytes of the answer as the nth of `cuts` says.

import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { url as serverUrl } from "./server.js";

/**
 * In front of the server; the connections after those of `cuts` are left alone. A cut after 0 bytes waits for the answer
 * to begin, so the request has arrived and nobody hears of it.
 */
export class Breaker {
  connections = 0;
  url = "";
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;

  private constructor(cuts: readonly number[]) {
    this.#server = createServer((near) => this.#accept(near, cuts[this.connections++]));
  }

  static async start(cuts: readonly number[] = [], port = 0): Promise<Breaker> {
    const proxy = new Breaker(cuts);
    await new Promise<void>((resolve) => proxy.#server.listen(port, "127.0.0.1", resolve));
    proxy.url = `http://127.0.0.1:${(proxy.#server.address() as AddressInfo).port}`;
    return proxy;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(near: Socket, cut: number | undefined): void {
    const far = connect(Number(new URL(serverUrl).port), "127.0.0.1");
    let left = cut ?? Number.POSITIVE_INFINITY;
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(socket);
      socket.on("error", () => other.destroy());
      socket.on("close", () => other.destroy());
    }
    near.on("data", (data) => far.write(data));
    far.on("data", (data) => {
      if (data.length <= left) {
        left -= data.length;
        near.write(data);
      } else near.end(data.subarray(0, left), () => near.destroy());
    });
  }
}

/** Where nobody listens. */
export async function nobody(): Promise<string> {
  const proxy = await Breaker.start();
  await proxy[Symbol.asyncDispose]();
  return proxy.url;
}
