// The few helpers with which the page is built. Knows nothing of models.

/** The element with that id. */
export const byId = (id) => document.getElementById(id);

/** A new element. Attributes that are functions are listeners, `true` an attribute without value, `null` none. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

const SVG = "http://www.w3.org/2000/svg";

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A whole number for people: 12,345. */
export const count = (number) => number.toLocaleString("en-US");

/** "1 sample", "4 samples". */
export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

/** A position for people; only a picture has an end. */
export const place = (position, model) => (model.image ? `${count(position)} of ${count(model.length)}` : count(position));

/** Milliseconds for people. */
export const ms = (number) => (number < 100 ? `${number.toFixed(1)} ms` : `${count(Math.round(number))} ms`);

/** Whether the page is one column, as on a phone. */
export const narrow = () => matchMedia("(max-width: 899px)").matches;
