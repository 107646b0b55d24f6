// One event: its clip, its picture with the box, the facts.

import { h } from "./dom.js";
import { badge, picture } from "./cards.js";
import { color, count, duration, name, percent, reason, time } from "./format.js";

/** A clip is no longer than this. */
const CLIP_S = 900;

export class Detail {
  #event = null;

  /** `step(id, by)` names the neighbour of an event in the list, or none. */
  constructor(dialog, { step, closed }) {
    this.dialog = dialog;
    this.step = step;
    dialog.addEventListener("close", () => {
      this.#event = null;
      dialog.replaceChildren();
      closed();
    });
    // A click beside the dialog closes it.
    dialog.addEventListener("click", (click) => click.target === dialog && dialog.close());
    dialog.addEventListener("keydown", (key) => {
      if (key.target instanceof HTMLMediaElement) return;
      if (key.key === "ArrowLeft") this.#go(-1);
      if (key.key === "ArrowRight") this.#go(1);
    });
  }

  get id() {
    return this.#event?.id ?? null;
  }

  show(event) {
    const again = this.#event?.id === event.id;
    if (again && this.#event.revision === event.revision) return;
    this.#event = event;
    if (again) {
      // Facts change while somebody watches: the player goes on.
      this.dialog.querySelector("dl").replaceWith(facts(event));
      return;
    }
    this.dialog.replaceChildren(this.#head(event), h("div", { class: "detail-body" },
      h("div", {}, h("div", { class: "clip" }, clip(event)),
        event.end_s - event.start_s > CLIP_S ? h("p", { class: "muted" }, "The clip shows the first 15 minutes.") : null),
      h("div", { class: "side" }, picture(event, { lazy: false }), facts(event), links(event))));
    this.dialog.style.setProperty("--picture", `${event.best.picture[0]} / ${event.best.picture[1]}`);
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.querySelector("h2").focus({ preventScroll: true });
    this.dialog.scrollTop = 0;
  }

  close() {
    if (this.dialog.open) this.dialog.close();
  }

  #go(by) {
    const id = this.step(this.#event?.id, by);
    if (id) location.hash = `event=${id}`;
  }

  #head(event) {
    const arrow = (label, text, by) => h("button", { type: "button", class: "quiet", "aria-label": label, title: label,
      disabled: !this.step(event.id, by), onclick: () => this.#go(by) }, text);
    return h("header", {},
      h("h2", { id: "detail-title", tabIndex: -1 }, h("span", { class: "swatch", style: { background: color(event.label) } }), name(event.label),
        h("span", { class: "at" }, ` at ${event.camera}`), badge(event)),
      h("div", { class: "tools" }, arrow("Newer event", "‹", -1), arrow("Older event", "›", 1),
        h("button", { type: "button", class: "quiet close", "aria-label": "Close", title: "Close", onclick: () => this.close() }, "✕")));
  }
}

function clip(event) {
  const video = h("video", { controls: true, playsInline: true, preload: "metadata", muted: true, loop: false,
    "aria-label": `Clip of the ${event.label} at ${event.camera}` });
  if (event.snapshot_url) video.poster = event.snapshot_url;
  video.addEventListener("error", async () => {
    let words = "This browser cannot play the clip's codec. Download it to watch it.";
    try {
      const response = await fetch(event.clip_url, { method: "HEAD" });
      if (response.status === 404) words = "No video of this event was kept.";
      else if (!response.ok) words = "The clip cannot be read just now.";
    } catch {
      words = "The clip cannot be read just now.";
    }
    video.replaceWith(h("p", { class: "empty" }, words));
  });
  video.src = event.clip_url;
  return video;
}

function facts(event) {
  const [x, y, w, hgt] = event.best.box.map((n) => Math.round(n));
  const rows = [
    ["From", time(event.start_s, event.clock)],
    [event.state === "open" ? "Until" : "To", event.state === "open" ? "goes on" : time(event.end_s, event.clock)],
    ["For", duration(event.end_s - event.start_s)],
    ["Best score", percent(event.best_score)],
    ["Best picture", `${time(event.best.at_s, event.clock)}, ${percent(event.best.score)}`],
    ["Place there", `${w} × ${hgt} px at ${x}, ${y} of ${event.best.picture.join(" × ")}`],
    ["Seen in", `${count(event.looks)} looks`],
    ["Moves", event.stationary ? "no, it stays where it is" : "yes"],
    event.reason ? ["Closed", reason(event.reason)] : null,
    ["Revision", count(event.revision)],
    ["Id", event.id],
  ];
  return h("dl", {}, rows.filter(Boolean).flatMap(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]));
}

function links(event) {
  return h("p", { class: "links" },
    h("a", { href: event.clip_url, download: `${event.id}.mp4` }, "Download clip"),
    event.snapshot_url ? h("a", { href: event.snapshot_url, download: `${event.id}.jpg` }, "Download picture") : null,
    h("a", { href: `/v1/events/${event.id}` }, "JSON"));
}
