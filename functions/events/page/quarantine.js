// Segments that failed for good, and trying them again.

import { ask, tell } from "./api.js";
import { h, refill } from "./dom.js";
import { count, time } from "./format.js";

/** How often to look: seldom, but often while something is on its way. */
const LOOK_MS = 30000;

export class Quarantine {
  #rows = new Map();
  #looked = -LOOK_MS;

  /** `may` says whether this reader may have something tried again. */
  constructor(section, dialog, may) {
    this.section = section;
    this.list = section.querySelector(".kept");
    this.dialog = dialog;
    this.may = may;
    dialog.addEventListener("click", (click) => click.target === dialog && dialog.close());
  }

  /** Looks what there is, if it is time. */
  async look() {
    const waiting = [...this.#rows.values()].some((row) => row.state === "queued");
    if (!waiting && performance.now() - this.#looked < LOOK_MS) return;
    this.#looked = performance.now();
    const { segments, truncated } = await ask("/v1/quarantine");
    const there = new Set(segments.map(key));
    for (const [known, row] of this.#rows) {
      if (!there.has(known)) {
        row.element.remove();
        this.#rows.delete(known);
      }
    }
    for (const segment of segments) {
      const row = this.#rows.get(key(segment)) ?? this.#add(segment);
      this.list.append(row.element);
    }
    this.section.hidden = segments.length === 0;
    this.section.querySelector(".count").textContent = `${count(segments.length)}${truncated ? "+" : ""}`;
  }

  #add(segment) {
    const element = h("li", { "data-segment": segment.segment });
    const row = { segment, element, state: "kept", error: "" };
    this.#rows.set(key(segment), row);
    this.#draw(row);
    return row;
  }

  #draw({ segment, element, state, error }) {
    const at = time(segment.start_s, segment.clock);
    const again = segment.generation ? `, replayed ${times(segment.generation)}` : "";
    refill(
      element,
      h("p", { class: "kept-what" }, h("span", { class: "camera" }, segment.camera), h("time", {}, at),
        h("span", { class: "muted" }, `${count(segment.frames)} frames, tried ${times(segment.attempts)}${again}`)),
      h("p", { class: "kept-why" }, segment.error, h("span", { class: "muted id" }, segment.segment)),
      this.may ? h("div", { class: "kept-do" }, state === "queued" ? h("span", { class: "badge open", role: "status" }, "Queued again")
        : h("button", { type: "button", disabled: state === "asking", onclick: () => this.#ask(segment),
          "aria-label": `Replay ${segment.segment}` }, state === "asking" ? "Queueing…" : "Replay")) : null,
      error ? h("p", { class: "error", role: "alert" }, error) : null,
    );
  }

  #ask(segment) {
    const yes = h("button", { type: "button", class: "yes", onclick: () => {
      this.dialog.close();
      this.#replay(segment);
    } }, "Replay");
    refill(
      this.dialog,
      h("h2", { id: "confirm-title" }, `Replay this segment of ${segment.camera}?`),
      h("p", {}, `${time(segment.start_s, segment.clock)}, ${count(segment.frames)} frames. It is looked at once more; what is seen in it `
        + "then becomes part of this camera's events, which may change."),
      h("div", { class: "tools" }, h("button", { type: "button", onclick: () => this.dialog.close() }, "Cancel"), yes),
    );
    this.dialog.showModal();
    yes.focus();
  }

  async #replay(segment) {
    const row = this.#rows.get(key(segment));
    if (!row) return;
    Object.assign(row, { state: "asking", error: "" });
    this.#draw(row);
    try {
      await tell(`/v1/quarantine/${segment.segment.split("/").map(encodeURIComponent).join("/")}/replay`);
      row.state = "queued";
    } catch (error) {
      Object.assign(row, { state: "kept", error: error.message });
    }
    this.#draw(row);
  }
}

/** A replay that fails again is another entry. */
const key = ({ segment, generation }) => `${segment} ${generation}`;
const times = (n) => (n === 1 ? "once" : `${count(n)} times`);
