// Kept states: continue, fork, forget. A session's id stays here: who has it can advance it.

import * as api from "./api.js";
import { byId, count, el, place } from "./dom.js";

export class SessionList {
  /** `host`: `attempt(work)`, `advance(entry)`, `open(entry)`, `complete(sequence)`. */
  constructor(host) {
    this.host = host;
    this.entries = [];
    this.made = 0;
    this.paint();
  }

  /** A session that a request has just saved. */
  async add(id, sequence, seed) {
    this.entries = this.entries.filter((entry) => entry.sequence.model === sequence.model);
    const entry = { id, sequence, seed, forks: 0, name: `Session ${++this.made}` };
    this.entries.unshift(entry);
    this.open = entry;
    await this.refresh(entry);
  }

  /** What the server says of it now. */
  async refresh(entry) {
    const told = await this.host.attempt(() => api.session(entry.id));
    if (told) Object.assign(entry, { position: told.position, bytes: told.state_bytes, expires: told.expires });
    this.paint();
  }

  /** What the page shows now, of a session or of none. */
  shows(sequence) {
    const open = this.entries.find((entry) => entry.sequence === sequence) ?? null;
    if (open === this.open) return;
    this.open = open;
    this.paint();
  }

  /** Those of another model leave the page; their states end by themselves. */
  clear() {
    this.entries = [];
    this.open = null;
    this.paint();
  }

  paint() {
    const host = byId("sessions");
    const focused = document.activeElement?.dataset?.action;
    if (!this.entries.length) {
      const text = "None yet. Tick “Keep the state” and generate part of a sequence: it can then be continued, or forked, at any time.";
      host.replaceChildren(el("p", { class: "hint" }, text));
      return;
    }
    host.replaceChildren(...this.entries.map((entry) => this.#card(entry)));
    if (focused) host.querySelector(`.open [data-action=${focused}]`)?.focus();
  }

  #card(entry) {
    const open = entry === this.open;
    const { model } = entry.sequence;
    const done = this.host.complete(entry.sequence);
    const until = new Date(entry.expires).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const button = (name, action, work, disabled = false) =>
      el("button", { type: "button", "data-action": action, click: work, disabled, "aria-label": `${name}: ${entry.name}` }, name);
    return el("article", { class: open ? "session open" : "session", "aria-label": entry.name },
      el("div", { class: "heading" }, el("h3", {}, entry.name), open ? el("span", { class: "badge" }, "shown") : null),
      el("p", { class: "hint" }, `position ${place(entry.position ?? 0, model)} · `,
        el("span", { "data-fact": "bytes" }, `${count(entry.bytes ?? 0)} bytes`), ` · kept until ${until}`),
      el("div", { class: "actions" },
        done ? el("p", { class: "hint" }, "Complete.") : button("Continue", "continue", () => this.#continue(entry)),
        button("Fork", "fork", () => this.#fork(entry)),
        open ? null : button("Show", "show", () => this.#show(entry)),
        button("Forget", "forget", () => this.#forget(entry))));
  }

  #show(entry) {
    this.host.open(entry);
    this.shows(entry.sequence);
  }

  async #continue(entry) {
    this.#show(entry);
    await this.host.advance(entry);
  }

  async #fork(entry) {
    const copy = await this.host.attempt(() => api.fork(entry.id));
    if (!copy) return;
    const fork = { ...entry, forks: 0, id: copy.id, sequence: entry.sequence.copy(), name: `${entry.name}, fork ${++entry.forks}` };
    this.entries.splice(this.entries.indexOf(entry) + 1, 0, fork);
    this.#show(fork);
    await this.refresh(fork);
  }

  async #forget(entry) {
    await this.host.attempt(() => api.forget(entry.id));
    this.entries = this.entries.filter((other) => other !== entry);
    if (this.open === entry) this.open = null;
    this.paint();
    byId("session").querySelector("button")?.focus();
  }
}
