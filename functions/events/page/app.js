// The page: keeps the list of events, follows the stream, and lets one choose.

import { ask } from "./api.js";
import { Cameras } from "./cameras.js";
import { Cards } from "./cards.js";
import { Detail } from "./detail.js";
import { $, h } from "./dom.js";
import { color, name, time } from "./format.js";
import { Live } from "./live.js";
import { Quarantine } from "./quarantine.js";

const PAGE = 48;
const POLL_MS = 5000;
/** A page that stays open for weeks begins anew at so many events. */
const MOST = 1000;
const SPANS = [[3600, "1 h"], [21600, "6 h"], [86400, "24 h"], [604800, "7 d"]];

const chosen = new URLSearchParams(location.search);
const state = {
  camera: chosen.get("camera") ?? "",
  labels: new Set(chosen.getAll("label")),
  span: SPANS.some(([s]) => String(s) === chosen.get("span")) ? Number(chosen.get("span")) : 86400,
  events: new Map(),
  next: null,
  known: new Set(chosen.getAll("label")),
  loads: 0,
  retry: 0,
  poll: 0,
};

const cards = new Cards($("events"), open);
const cameras = new Cameras($("cameras"), $("all"), open);
const quarantine = new Quarantine($("quarantine"), $("confirm"), document.body.dataset.access === "admin");
const detail = new Detail($("detail"), {
  step: (id, by) => {
    const ids = listed().map((event) => event.id);
    const index = ids.indexOf(id);
    return index < 0 ? undefined : ids[index + by];
  },
  closed: () => location.hash && history.pushState(null, "", location.pathname + location.search),
});
const live = new Live({ change: heard, reset: load, state: connection });

/** Events that the filter takes, newest first. */
function listed() {
  return [...state.events.values()].filter(takes).sort((a, b) => b.start_s - a.start_s || (a.id < b.id ? 1 : -1));
}

function takes(event) {
  return (!state.camera || event.camera === state.camera) && (state.labels.size === 0 || state.labels.has(event.label));
}

const filter = () => ({ camera: state.camera, label: [...state.labels] });

/** Reads everything anew and follows the stream from there. A later call overtakes an earlier one. */
async function load() {
  clearTimeout(state.retry);
  const call = ++state.loads;
  try {
    const page = await ask("/v1/events", { ...filter(), limit: PAGE });
    if (call !== state.loads) return;
    state.events = new Map(page.events.map((event) => [event.id, event]));
    state.next = page.next;
    banner("");
    draw();
    live.follow(page.stream_from);
    route();
  } catch (error) {
    if (call !== state.loads) return;
    banner(`${error.message}. Trying again.`);
    connection("lost");
    state.retry = setTimeout(load, POLL_MS);
  }
}

async function older() {
  $("more").disabled = true;
  try {
    const page = await ask("/v1/events", { ...filter(), limit: PAGE, cursor: state.next });
    for (const event of page.events) keep(event);
    state.next = page.next;
    draw();
  } catch (error) {
    banner(error.message);
  }
  $("more").disabled = false;
}

/** The newest revision wins, whichever way it came. */
function keep(event) {
  const known = state.events.get(event.id);
  if (!known || known.revision < event.revision) state.events.set(event.id, event);
}

let drawing = 0;
function heard({ change, event }) {
  cameras.touch(event.camera);
  if (change === "withdrawn") {
    state.events.delete(event.id);
    if (detail.id === event.id) detail.close();
  } else {
    // What is older than the list reaches comes with its page.
    const oldest = state.next ? Math.min(...[...state.events.values()].map((e) => e.start_s)) : -Infinity;
    if (!state.events.has(event.id) && event.start_s < oldest) return;
    if (state.events.size >= MOST) return load();
    keep(event);
    if (detail.id === event.id) detail.show(state.events.get(event.id));
    if (change === "opened" && takes(event)) {
      $("news").textContent = `New: ${event.label} at ${event.camera}, ${time(event.start_s, event.clock)}`;
    }
  }
  // Many changes at once make one drawing.
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    draw();
  });
}

function draw() {
  const events = listed();
  for (const event of state.events.values()) state.known.add(event.label);
  cards.show(events);
  $("count").textContent = events.length ? `${events.length}${state.next ? "+" : ""}` : "";
  $("more").hidden = !state.next;
  const nothing = $("nothing");
  nothing.hidden = events.length > 0;
  const narrowed = state.camera || state.labels.size > 0;
  nothing.textContent = narrowed ? "Nothing that fits this filter." : "Nothing has been seen yet. What is seen appears here by itself.";
  chips();
}

function chips() {
  const wanted = [...state.known].sort();
  const place = $("labels");
  if (place.dataset.shown === JSON.stringify([wanted, [...state.labels]])) return;
  place.dataset.shown = JSON.stringify([wanted, [...state.labels]]);
  place.replaceChildren(...wanted.map((label) => h("button", {
    type: "button", class: "chip", "aria-pressed": String(state.labels.has(label)),
    onclick: () => {
      state.labels.has(label) ? state.labels.delete(label) : state.labels.add(label);
      narrow();
      [...place.children].find((chip) => chip.dataset.label === label)?.focus();
    },
    "data-label": label,
  }, h("span", { class: "swatch", style: { background: color(label) } }), name(label))));
}

/** The filter changed: the address says so, and everything follows. */
function narrow() {
  const query = new URLSearchParams();
  if (state.camera) query.set("camera", state.camera);
  for (const label of state.labels) query.append("label", label);
  if (state.span !== 86400) query.set("span", state.span);
  const text = query.toString();
  history.replaceState(null, "", (text ? `?${text}` : location.pathname) + location.hash);
  cameras.narrow(state.labels, state.span);
  chips();
  load();
}

async function poll() {
  clearTimeout(state.poll);
  if (!document.hidden) {
    try {
      const { cameras: views } = await ask("/v1/cameras");
      cameras.show(views);
      const select = $("camera");
      const ids = views.map((view) => view.id);
      if (select.options.length !== ids.length + 1) {
        select.replaceChildren(new Option("All cameras", ""), ...ids.map((id) => new Option(id, id)));
        select.value = state.camera;
      }
      select.parentElement.hidden = ids.length < 2 && !state.camera;
      await quarantine.look();
      $("span").hidden = !views.some((view) => view.clock === "unix");
      if ($("live").dataset.state === "live") banner("");
    } catch (error) {
      banner(`${error.message}. Trying again.`);
    }
  }
  clearTimeout(state.poll);
  state.poll = setTimeout(poll, POLL_MS);
}

function connection(what) {
  $("live").dataset.state = what;
  $("live-text").textContent = { live: "Live", lost: "Reconnecting" }[what] ?? "Connecting";
}

function banner(text) {
  $("banner").textContent = text;
  $("banner").hidden = !text;
}

function open(id) {
  if (location.hash !== `#event=${id}`) location.hash = `event=${id}`;
  else route();
}

/** The address names the event that is shown. */
async function route() {
  const id = /^#event=(.+)$/.exec(location.hash)?.[1];
  if (!id) return detail.close();
  try {
    detail.show(state.events.get(id) ?? (await ask(`/v1/events/${encodeURIComponent(id)}`)));
  } catch (error) {
    banner(error.message);
  }
}

function theme(next) {
  const all = ["auto", "dark", "light"];
  let now = all.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto";
  if (next) now = all[(all.indexOf(now) + 1) % all.length];
  localStorage.setItem("theme", now);
  document.documentElement.dataset.theme = now;
  $("theme").textContent = `Theme: ${now}`;
}

$("theme").addEventListener("click", () => theme(true));
$("more").addEventListener("click", older);
$("camera").addEventListener("change", (event) => {
  state.camera = event.target.value;
  narrow();
});
$("span").append(...SPANS.map(([span, text]) => h("button", {
  type: "button", class: "chip", "aria-pressed": String(span === state.span), "data-span": span,
  onclick: (click) => {
    state.span = span;
    for (const chip of $("span").children) chip.setAttribute("aria-pressed", String(chip === click.currentTarget));
    narrow();
  },
}, text)));
addEventListener("hashchange", route);
document.addEventListener("visibilitychange", () => document.hidden || poll());

theme(false);
cameras.narrow(state.labels, state.span);
poll();
load();
