// The grid of events.

import { boxOverlay, h, refill } from "./dom.js";
import { color, duration, name, percent, reason, time } from "./format.js";

/** The picture of an event with its box, or a stand-in where none was kept. */
export function picture(event, { lazy = true, notes = [] } = {}) {
  const tint = color(event.label);
  if (!event.snapshot_url) {
    return h("div", { class: "picture none" }, h("span", {}, "No picture kept"), notes);
  }
  const image = h("img", {
    loading: lazy ? "lazy" : "eager",
    decoding: "async",
    alt: `${name(event.label)} at ${event.camera}, ${time(event.best.at_s, event.clock)}`,
    src: `${event.snapshot_url}#${event.revision}`,
  });
  const frame = h("div", { class: "picture" }, image, boxOverlay(event.best.picture, event.best.box, tint), notes);
  image.addEventListener("load", () => frame.classList.add("loaded"));
  image.addEventListener("error", () => {
    frame.classList.add("none");
    refill(frame, h("span", {}, "Picture not kept any more"), notes);
  });
  return frame;
}

/** What state an event is in, in a word; none where it is simply over. */
export function badge(event) {
  if (event.state === "open") return h("span", { class: "badge open" }, event.stationary ? "still there" : "now");
  if (event.reason && event.reason !== "left") return h("span", { class: "badge" }, reason(event.reason));
  return event.stationary ? h("span", { class: "badge" }, "stood still") : null;
}

function card(event, open) {
  const label = name(event.label);
  const when = time(event.start_s, event.clock);
  const length = duration(event.end_s - event.start_s);
  return h(
    "li",
    { class: "card", "data-id": event.id },
    h(
      "a",
      {
        href: `#event=${event.id}`,
        "aria-label": `${label} at ${event.camera}, ${when}, for ${length}, ${percent(event.best_score)} sure`,
        onclick: (click) => {
          click.preventDefault();
          open(event.id);
        },
      },
      picture(event, { notes: [badge(event), h("span", { class: "length" }, length)] }),
      h(
        "div",
        { class: "facts" },
        h("p", { class: "what" }, h("span", { class: "swatch", style: { background: color(event.label) } }), label,
          h("span", { class: "score" }, percent(event.best_score))),
        h("p", { class: "where" }, h("span", { class: "camera" }, event.camera), h("time", {}, when)),
      ),
    ),
  );
}

/** Keeps the list in step with the events, touching only what changed. */
export class Cards {
  #shown = new Map();

  constructor(list, open) {
    this.list = list;
    this.open = open;
  }

  /** Shows these, in this order. */
  show(events) {
    const wanted = new Set(events.map((event) => event.id));
    for (const [id, { element }] of this.#shown) {
      if (!wanted.has(id)) {
        element.remove();
        this.#shown.delete(id);
      }
    }
    let before = this.list.firstElementChild;
    for (const event of events) {
      const known = this.#shown.get(event.id);
      let element = known?.element;
      if (!known || known.revision !== event.revision) {
        element = card(event, this.open);
        if (known) {
          const focused = known.element.contains(document.activeElement);
          if (before === known.element) before = element;
          known.element.replaceWith(element);
          if (focused) element.querySelector("a").focus({ preventScroll: true });
        }
        this.#shown.set(event.id, { element, revision: event.revision });
      }
      if (element === before) before = before.nextElementSibling;
      else this.list.insertBefore(element, before);
    }
    this.list.setAttribute("aria-busy", "false");
  }
}
