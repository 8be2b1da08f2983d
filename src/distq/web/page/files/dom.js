// Makes elements and formats values. All text becomes text nodes: names and errors of tasks come from other programs.

const INVISIBLE = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]/gu;

/** Returns a text whose control characters are escapes: one that turns the direction would show a name as another name. */
export const visible = (text) => text.replace(INVISIBLE, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** Returns an element; attributes that are null or false are left out, functions become listeners. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  const shown = children.flat().filter((child) => child !== null && child !== undefined && child !== false);
  element.append(...shown.map((child) => (typeof child === "string" ? visible(child) : child)));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** Returns a line chart of values; screen readers skip it, because the number stands beside it. */
export function spark(values) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", "0 0 100 20");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const most = Math.max(...values, 0.001);
  const step = 100 / Math.max(values.length - 1, 1);
  const line = document.createElementNS(SVG, "polyline");
  line.setAttribute("points", values.map((one, at) => `${(at * step).toFixed(1)},${(19 - (18 * one) / most).toFixed(1)}`).join(" "));
  line.setAttribute("vector-effect", "non-scaling-stroke");
  svg.append(line);
  return svg;
}

export const count = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en"));

export const rate = (value) => (value === null ? "–" : `${value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(1)}/s`);

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} days`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  return value < 1 << 30 ? `${Math.round(value / (1 << 20)).toLocaleString("en")} MiB` : `${(value / (1 << 30)).toFixed(1)} GiB`;
}

const two = (number) => String(number).padStart(2, "0");

/** Returns a <time> in the reader's zone; an instant that no calendar has is shown as a number. */
export function instant(at) {
  if (at === null || at === undefined) return "–";
  const date = new Date(at * 1000);
  if (Number.isNaN(date.getTime())) return `${at} s after 1970`;
  const text = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ` +
    `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return h("time", { datetime: date.toISOString() }, text);
}

/** Replaces what has the keyboard's focus; the main part then has it, so that the next key does not begin at the page's top. */
export function replaceFocused(holder, replace) {
  const held = holder.contains(document.activeElement);
  replace();
  if (held) document.getElementById("main").focus({ preventScroll: true });
}

/** Fills a table's body, and leaves the cells that have not changed, so that a focused link keeps the focus. */
export function fill(body, rows) {
  rows.forEach((row, at) => {
    const old = body.rows[at];
    if (!old) body.append(row);
    else if (old.dataset.key !== row.dataset.key) replaceFocused(old, () => old.replaceWith(row));
    else [...row.cells].forEach((cell, column) => {
      const before = old.cells[column];
      if (before.textContent !== cell.textContent) before.replaceChildren(...cell.childNodes);
    });
  });
  while (body.rows.length > rows.length) body.rows[body.rows.length - 1].remove();
}
