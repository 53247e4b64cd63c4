// A small picture to draw on, by pointer or by keys, and how much of it is observed.

import { el } from "./dom.js";
import { isBinary } from "./pixels.js";

const CELL = 10; // canvas pixels a picture's pixel
const PEN = 1.15; // radius of the pen in a picture's pixels

export class Drawing {
  /** `onStroke` is called when a stroke, or a key's, is over. */
  constructor(model, onStroke) {
    const { height, width, channels } = model.image;
    Object.assign(this, { model, height, width, channels, onStroke });
    this.values = new Uint8Array(height * width * channels);
    this.rows = Math.floor(height / 2);
    this.cursor = { x: width >> 1, y: height >> 2 };
    this.erasing = false;
    this.canDraw = channels === 1;
    this.spoken = el("span", { class: "unseen", "aria-live": "polite" });
    this.canvas = this.#canvas();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
    this.paint();
  }

  get empty() {
    return this.values.every((value) => value === 0);
  }

  /** Another picture: one value a pixel and channel. */
  set(values) {
    this.values = Uint8Array.from(values);
    this.paint();
  }

  clear() {
    this.set(new Uint8Array(this.values.length));
  }

  #canvas() {
    const drawing = this.canDraw
      ? { role: "application", tabindex: "0", "aria-describedby": "drawing-keys", pointerdown: this.#down.bind(this) }
      : { role: "img" };
    const name = this.canDraw ? "Drawing: the upper part" : "The picture whose upper part is kept";
    const attributes = { id: "drawing", class: this.canDraw ? "drawing pen" : "drawing", "aria-label": name, ...drawing };
    const canvas = el("canvas", { width: this.width * CELL, height: this.height * CELL, ...attributes });
    if (!this.canDraw) return canvas;
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => this.#up());
    canvas.addEventListener("keydown", (event) => this.#key(event));
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, () => this.paint());
    return canvas;
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * this.width - 0.5;
    return { x, y: ((event.clientY - box.top) / box.height) * this.height - 0.5 };
  }

  #down(event) {
    if (event.button > 0 || !event.isPrimary) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.last = this.#place(event);
    this.#line(this.last, this.last);
  }

  #move(event) {
    if (!this.last) return;
    for (const step of event.getCoalescedEvents?.() ?? [event]) {
      const place = this.#place(step);
      this.#line(this.last, place);
      this.last = place;
    }
  }

  #up() {
    if (!this.last) return;
    this.last = null;
    this.onStroke();
  }

  #line(from, to) {
    const high = this.erasing ? 0 : (this.model.observation.high ?? 1);
    for (let y = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++) {
        if (distance({ x, y }, from, to) <= PEN) this.values[y * this.width + x] = high;
      }
    }
    this.paint();
  }

  #key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const at = this.cursor;
    if (moves[event.key]) {
      const [right, down] = moves[event.key];
      at.x = Math.max(0, Math.min(this.width - 1, at.x + right));
      at.y = Math.max(0, Math.min(this.height - 1, at.y + down));
      if (event.shiftKey) this.#line(at, at);
    } else if (event.key === " " || event.key === "Enter") {
      const index = at.y * this.width + at.x;
      this.values[index] = this.values[index] ? 0 : (this.model.observation.high ?? 1);
    } else return;
    event.preventDefault();
    const inked = this.values[at.y * this.width + at.x] ? "ink" : "blank";
    this.spoken.textContent = `row ${at.y + 1}, column ${at.x + 1}, ${inked}`;
    this.paint();
    if (!moves[event.key] || event.shiftKey) this.onStroke();
  }

  /** Everything anew: the pixels, the veil over what is not observed, the cursor of the keys. */
  paint() {
    const context = this.canvas.getContext("2d");
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
    context.fillStyle = colour("--paper");
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    for (let pixel = 0; pixel < this.width * this.height; pixel++) {
      if (this.channels === 1 && !this.values[pixel]) continue;
      context.fillStyle = this.#colour(pixel, colour);
      context.fillRect((pixel % this.width) * CELL, Math.floor(pixel / this.width) * CELL, CELL, CELL);
    }
    const line = this.rows * CELL;
    context.fillStyle = colour("--veil");
    context.fillRect(0, line, this.canvas.width, this.canvas.height - line);
    context.fillStyle = colour("--accent");
    context.fillRect(0, line - 1, this.canvas.width, 2);
    if (this.canvas.matches(":focus-visible")) {
      context.strokeStyle = colour("--focus");
      context.lineWidth = 2;
      context.strokeRect(this.cursor.x * CELL, this.cursor.y * CELL, CELL, CELL);
    }
  }

  #colour(pixel, colour) {
    if (isBinary(this.model)) return colour("--given");
    const most = this.model.observation.high ?? 1;
    const bright = (channel) => (255 * this.values[pixel * this.channels + channel]) / most;
    return this.channels === 1 ? `rgb(${bright(0)} ${bright(0)} ${bright(0)})` : `rgb(${bright(0)} ${bright(1)} ${bright(2)})`;
  }
}

/** From a point to the segment between two others. */
function distance(point, from, to) {
  const [x, y] = [to.x - from.x, to.y - from.y];
  const along = ((point.x - from.x) * x + (point.y - from.y) * y) / (x * x + y * y || 1);
  const share = Math.max(0, Math.min(1, along));
  return Math.hypot(point.x - from.x - share * x, point.y - from.y - share * y);
}
