// How times, lengths, scores and names are written.

const pad = (n) => String(n).padStart(2, "0");
const clockTime = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const shortTime = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });
const dayName = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });
const number = new Intl.NumberFormat();

export const count = (n) => number.format(n);
export const percent = (score) => `${Math.round(score * 100)} %`;
export const name = (label) => label.charAt(0).toUpperCase() + label.slice(1);

/** Seconds from a footage's first frame, as mm:ss or h:mm:ss. */
function mediaTime(s) {
  const whole = Math.floor(Math.max(0, s));
  const [hours, minutes, seconds] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours}:${pad(minutes)}:${pad(seconds)}` : `${pad(minutes)}:${pad(seconds)}`;
}

/** A time on its clock: mm:ss of footage, or local time, with the day unless it is today. */
export function time(s, clock) {
  if (clock !== "unix") return mediaTime(s);
  const at = new Date(s * 1000);
  const today = at.toDateString() === new Date().toDateString();
  return today ? clockTime.format(at) : `${dayName.format(at)}, ${clockTime.format(at)}`;
}

/** A time on an axis whose labels are `step` seconds apart. */
export function tick(s, clock, step) {
  if (clock !== "unix") return mediaTime(s);
  const at = new Date(s * 1000);
  return step >= 86400 ? dayName.format(at) : shortTime.format(at);
}

/** A length of time for people: 0.4 s, 12 s, 3 min 20 s, 5 h 10 min. */
export function duration(s) {
  if (s < 9.95) return `${Math.max(0, s).toFixed(1)} s`;
  if (s < 60) return `${Math.round(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s) % 60} s`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} days`;
}

// Calm colours that can be told apart in the dark; the usual classes have one of their own.
const COLORS = { person: "#7fc8a9", car: "#e0b36a", truck: "#d98f6c", bus: "#c9a3d9", bicycle: "#8fb8e8", motorcycle: "#b7c96a",
  dog: "#e39ab0", cat: "#d6a4c8" };
const OTHERS = ["#8fb8e8", "#b7c96a", "#c9a3d9", "#6cc3cf", "#e39ab0", "#d98f6c"];

export function color(label) {
  if (COLORS[label]) return COLORS[label];
  let hash = 0;
  for (const char of label) hash = (hash * 31 + char.codePointAt(0)) >>> 0;
  return OTHERS[hash % OTHERS.length];
}

const REASONS = { left: "left", camera_ended: "footage ended", camera_lost: "camera lost", camera_stopped: "stopped" };
export const reason = (why) => REASONS[why] ?? why;

const WORDS = { second_field: "second field of a pair", before_key_frame: "before the first key frame",
  dead_lettered: "given up", quiet: "nothing moved", sampling: "not their turn", superseded: "covered by another capture",
  shed: "too much to do", decode: "no picture came out", disconnected: "disconnected", silent: "nothing came",
  malformed: "stream not understood", packet_loss: "packets lost", timeline: "camera's clock jumped",
  unattended: "Detektor was not running" };
export const words = (key) => WORDS[key] ?? key.replaceAll("_", " ");
