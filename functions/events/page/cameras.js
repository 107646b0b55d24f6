// Each camera: its state, its timeline, its ledger.

import { ask } from "./api.js";
import { h, refill } from "./dom.js";
import { count, duration, time, words } from "./format.js";
import { timeline } from "./timeline.js";

export class Cameras {
  #rows = new Map();
  #labels = new Set();
  #span = 86400;

  /** `all` is the button that shows every camera where there are many. */
  constructor(place, all, open) {
    this.place = place;
    this.all = all;
    this.open = open;
    all.addEventListener("click", () => {
      place.classList.toggle("all");
      this.show([...this.#rows.values()].map((row) => row.view));
    });
  }

  /** Draws the timelines with these classes only (all, if empty), reaching back so many seconds on live cameras. */
  narrow(labels, span) {
    this.#labels = labels;
    const reach = this.#span !== span;
    this.#span = span;
    for (const row of this.#rows.values()) reach ? this.touch(row.view.id) : this.#draw(row);
  }

  show(views) {
    const wanted = new Set(views.map((view) => view.id));
    for (const [id, row] of this.#rows) {
      if (!wanted.has(id)) {
        row.element.remove();
        this.#rows.delete(id);
      }
    }
    if (views.length === 0) {
      this.place.replaceChildren(h("p", { class: "empty" }, "No camera yet. Start one: ",
        h("code", {}, "detektor run --camera driveway=rtsp://…")));
      return;
    }
    this.place.querySelector(".empty")?.remove();
    this.all.hidden = views.length <= (innerWidth < 720 ? 3 : 5);
    this.all.textContent = this.place.classList.contains("all") ? "Show fewer cameras" : `Show all ${views.length} cameras`;
    for (const view of views) {
      const row = this.#rows.get(view.id) ?? this.#add(view);
      const moved = row.view.merged_until_s !== view.merged_until_s || row.view.gaps !== view.gaps;
      row.view = view;
      this.#head(row);
      if (moved || !row.data) this.touch(view.id);
      if (row.details.open) this.#ledger(row);
    }
  }

  /** Something of this camera changed: its timeline is read again, soon and once. */
  touch(id) {
    const row = this.#rows.get(id);
    if (!row || row.timer) return;
    const wait = row.data ? 1500 : 0;
    row.timer = setTimeout(async () => {
      const { view } = row;
      const from = view.clock === "unix" ? view.merged_until_s - this.#span : undefined;
      try {
        row.data = await ask(`/v1/cameras/${view.id}/timeline`, { from });
        this.#draw(row);
      } catch {
        // The next poll tries again, and the banner says what is wrong.
      } finally {
        row.timer = 0;
      }
    }, wait);
  }

  #add(view) {
    const head = h("div", { class: "camera-head" });
    const line = h("div", { class: "camera-line" }, h("p", { class: "muted line-empty" }, "…"));
    const sums = h("span", {});
    const body = h("div", { class: "ledger" });
    const details = h("details", {}, h("summary", {}, sums), body);
    const element = h("article", { class: "camera-row", "aria-label": `Camera ${view.id}` }, head, line, details);
    const row = { view, element, head, line, details, sums, body, data: null, timer: 0 };
    details.addEventListener("toggle", () => details.open && this.#ledger(row));
    this.#rows.set(view.id, row);
    const after = [...this.#rows.keys()].sort().indexOf(view.id);
    this.place.insertBefore(element, this.place.children[after] ?? null);
    return row;
  }

  #head({ view, head, sums }) {
    refill(
      head,
      h("h3", {}, view.id),
      h("p", { class: "state", "data-state": view.state }, h("span", { class: "dot", "aria-hidden": "true" }), view.state),
      h("p", { class: "url", title: view.url }, view.url),
      view.error ? h("p", { class: "error" }, view.error) : null,
    );
    refill(
      sums,
      h("span", { class: view.closes ? "check" : "check off" }, view.closes ? "Every frame accounted for" : "Frames missing"),
      h("span", { class: "sum wide" }, `${count(view.captured)} captured`),
      h("span", { class: "sum wide" }, `${count(view.detected)} looked at`),
      view.merged_until_s === null ? null : h("span", { class: "sum until" }, `up to ${time(view.merged_until_s, view.clock)}`),
      view.gaps ? h("span", { class: "sum warn" }, `${count(view.gaps)} gap${view.gaps > 1 ? "s" : ""}`) : null,
    );
  }

  #draw(row) {
    if (row.data) refill(row.line, timeline(row.data, this.#labels, this.open));
  }

  async #ledger(row) {
    try {
      refill(row.body, ledger(await ask(`/v1/cameras/${row.view.id}/ledger`)));
    } catch (error) {
      row.body.replaceChildren(h("p", { class: "error" }, error.message));
    }
  }
}

function ledger(data) {
  const rows = [
    ["Looked at", data.detected, "detected"],
    ...Object.entries(data.skipped).map(([why, n]) => [`Skipped: ${words(why)}`, n, "skipped"]),
    ...Object.entries(data.failed).map(([why, n]) => [`Failed: ${words(why)}`, n, "failed"]),
  ];
  const share = (n) => (data.captured ? (100 * n) / data.captured : 0);
  const bar = h("div", { class: "shares", "aria-hidden": "true" },
    rows.map(([, n, kind]) => h("span", { class: kind, style: { width: `${share(n)}%` } })));
  const table = h("table", {},
    h("caption", { class: "sr" }, "What became of the captured frames"),
    h("tbody", {}, rows.map(([what, n, kind]) => h("tr", {},
      h("th", { scope: "row" }, h("span", { class: `swatch ${kind}` }), what),
      h("td", {}, count(n)), h("td", { class: "muted" }, `${share(n).toFixed(1)} %`)))),
    h("tfoot", {}, h("tr", {}, h("th", { scope: "row" }, "Captured"), h("td", {}, count(data.captured)),
      h("td", { class: "muted" }, `${count(data.segments)} segments`))));
  const wrong = [];
  if (data.holes) wrong.push(h("p", { class: "error" }, `${count(data.holes)} segments have no outcome yet.`));
  if (data.miscounted) wrong.push(h("p", { class: "error" }, `${count(data.miscounted)} frames were miscounted.`));
  const newest = data.gaps.slice(-12).reverse();
  const gaps = newest.length === 0 ? [] : [
    h("h4", {}, newest.length < data.gaps.length ? `The last ${newest.length} of ${count(data.gaps.length)} gaps` : "Gaps"),
    h("ul", { class: "gaps" }, newest.map((gap) => h("li", {}, h("time", {}, time(gap.from_s, gap.clock)),
      gap.until_s === null ? " until now" : ` for ${duration(gap.until_s - gap.from_s)}`,
      h("span", { class: "muted" }, words(gap.cause))))),
  ];
  return [bar, table, ...wrong, ...gaps];
}
