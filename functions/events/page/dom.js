// Small helpers to make elements. Text is always set as text, never as HTML.

export const $ = (id) => document.getElementById(id);

/** Makes an element: properties by name, `class`, `style` as an object, `data-*`, `aria-*` and `role` as attributes. */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** Makes an SVG element. */
export function svg(tag, props = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(props)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "style") for (const [key, v] of Object.entries(value)) element.style.setProperty(key, v);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (/^(aria-|data-|role$)/.test(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...present(children));
  return element;
}

const present = (children) => children.flat().filter((child) => child !== null && child !== undefined && child !== false);

/** Gives an element other children; what is null is left out. */
export function refill(element, ...children) {
  element.replaceChildren(...present(children));
}

/** A frame over a picture of `[width, height]` that shows where something is. */
export function boxOverlay(picture, box, color) {
  const [width, height] = picture;
  const [x, y, w, hgt] = box;
  const stroke = Math.max(width, height) / 220;
  return svg(
    "svg",
    { class: "overlay", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "xMidYMid slice", "aria-hidden": "true" },
    svg("rect", { x, y, width: w, height: hgt, rx: stroke * 1.5, fill: "none", stroke: "#000", "stroke-opacity": 0.45,
      "stroke-width": stroke * 2.2 }),
    svg("rect", { x, y, width: w, height: hgt, rx: stroke * 1.5, fill: "none", stroke: color, "stroke-width": stroke }),
  );
}
