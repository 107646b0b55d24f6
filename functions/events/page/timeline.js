// One camera's events and gaps over time.

import { h, svg } from "./dom.js";
import { color, duration, name, tick, time, words } from "./format.js";

const LANES = 4;
const HEIGHT = 36;
const TALLEST = 20;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];

/** Labels of an axis: at most about `most`, at round times (round in local time, where the clock is the world's). */
export function ticks(from, until, clock, most) {
  const step = STEPS.find((s) => (until - from) / s <= most) ?? 604800;
  const shift = clock === "unix" ? new Date(until * 1000).getTimezoneOffset() * 60 : 0;
  const marks = [];
  for (let at = Math.ceil((from - shift) / step) * step + shift; at <= until; at += step) marks.push(at);
  return { step, marks };
}

/** Gives overlapping events lanes of their own, as far as there are lanes. */
export function lanes(events) {
  const free = new Array(LANES).fill(-Infinity);
  return events.map((event) => {
    let lane = free.findIndex((end) => end <= event.start_s);
    if (lane < 0) lane = free.indexOf(Math.min(...free));
    free[lane] = Math.max(free[lane], event.end_s);
    return lane;
  });
}

/** The element that shows a timeline. Arrow keys go from event to event, Enter opens. */
export function timeline(data, labels, open) {
  const length = data.until_s - data.from_s;
  const events = data.events.filter((event) => labels.size === 0 || labels.has(event.label));
  if (!(length > 0)) return h("p", { class: "muted line-empty" }, "Nothing looked at yet.");

  // No bar is narrower than a finger can see: about 4 pixels, whatever the width.
  const narrowest = 4000 / Math.max(280, innerWidth < 720 ? innerWidth - 50 : Math.min(innerWidth, 1400) - 310);
  const x = (s) => (Math.min(Math.max(s, data.from_s), data.until_s) - data.from_s) / length * 1000;
  const drawing = svg("svg", { viewBox: `0 0 1000 ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  if (data.begins_s > data.from_s) {
    const before = svg("rect", { class: "before", x: 0, y: 0, width: x(data.begins_s), height: HEIGHT });
    before.append(svg("title", {}, `Captured from ${time(data.begins_s, data.clock)} on`));
    drawing.append(before);
  }
  for (const gap of data.gaps) {
    const [begin, end] = [x(gap.from_s), x(gap.until_s ?? data.until_s)];
    const rect = svg("rect", { class: "gap", x: begin, y: 0, width: Math.max(narrowest / 2, end - begin), height: HEIGHT });
    const span = gap.until_s === null ? "until now" : `for ${duration(gap.until_s - gap.from_s)}`;
    rect.append(svg("title", {}, `Nothing captured from ${time(gap.from_s, data.clock)} ${span}: ${words(gap.cause)}`));
    drawing.append(rect);
  }
  const lane = lanes(events);
  const used = 1 + Math.max(0, ...lane);
  const height = Math.min(HEIGHT / used, TALLEST);
  const top = (HEIGHT - used * height) / 2;
  const bars = events.map((event, index) => {
    const width = Math.max(narrowest, x(event.end_s) - x(event.start_s));
    const bar = svg("rect", { class: event.open ? "bar open" : "bar", x: Math.min(x(event.start_s), 1000 - width),
      y: top + lane[index] * height + 1, width, height: height - 2, fill: color(event.label) });
    bar.append(svg("title", {}, describe(event, data.clock)));
    bar.addEventListener("click", () => open(event.id));
    drawing.append(bar);
    return bar;
  });

  const { step, marks } = ticks(data.from_s, data.until_s, data.clock, innerWidth < 600 ? 4 : 9);
  const axis = h("div", { class: "axis", "aria-hidden": "true" }, marks.map((at) => {
    const place = (at - data.from_s) / length * 100;
    const edge = place < 3 ? "first" : place > 97 ? "last" : "";
    return h("span", { class: edge, style: { left: `${place}%` } }, tick(at, data.clock, step));
  }));
  const gaps = data.gaps.length ? `, ${data.gaps.length} gap${data.gaps.length > 1 ? "s" : ""}` : "";
  const says = h("span", { class: "sr", "aria-live": "polite" });
  const track = h("div", {
    class: "track", tabIndex: 0, role: "group",
    "aria-label": `Timeline of ${data.camera}: ${events.length} events${gaps}, from ${time(data.from_s, data.clock)} to ` +
      `${time(data.until_s, data.clock)}. Arrow keys choose an event, Enter opens it.`,
  }, drawing, says);
  track.addEventListener("keydown", keys(events, bars, says, data.clock, open));
  return h("div", { class: "line" }, track, axis);
}

function describe(event, clock) {
  const length = event.open ? "goes on" : duration(event.end_s - event.start_s);
  return `${name(event.label)}, ${time(event.start_s, clock)}, ${length}`;
}

function keys(events, bars, says, clock, open) {
  let chosen = -1;
  return (key) => {
    const moves = { ArrowRight: chosen + 1, ArrowLeft: chosen < 0 ? events.length - 1 : chosen - 1, Home: 0, End: events.length - 1 };
    if (key.key in moves && events.length) {
      bars[chosen]?.classList.remove("chosen");
      chosen = Math.min(Math.max(moves[key.key], 0), events.length - 1);
      bars[chosen].classList.add("chosen");
      says.textContent = describe(events[chosen], clock);
      key.preventDefault();
    } else if (key.key === "Enter" && chosen >= 0) {
      open(events[chosen].id);
      key.preventDefault();
    }
  };
}
