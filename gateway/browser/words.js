// Numbers, durations and times as people read them.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/** 1,234,567; from ten million on 12.35M. */
export function count(value) {
  return value < 10_000_000 ? WHOLE.format(value) : SHORT.format(value);
}

/** A number of things: 1 cause, 2 causes. */
export function counted(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** A rate: small ones with a tenth. */
export function rate(value) {
  return value < 10 ? TENTHS.format(value) : count(value);
}

const UNITS = [
  ["d", 86_400],
  ["h", 3_600],
  ["min", 60],
  ["s", 1],
];

/** 240 ms, 3.2 s, 48 s, 3 min 20 s, 2 h 5 min, 4 d 2 h. */
export function duration(seconds) {
  if (seconds <= 0) return "0 s";
  if (seconds < 0.9995) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 9.95) return `${TENTHS.format(seconds)} s`;
  return wholeDuration(seconds);
}

/** As `duration`, in whole seconds. */
export function wholeDuration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const at = UNITS.findIndex(([, size]) => whole >= size);
  if (at < 0) return "0 s";
  const [name, size] = UNITS[at];
  const [smaller, part] = UNITS[at + 1] ?? ["", 1];
  const rest = Math.floor((whole % size) / part);
  return `${count(Math.floor(whole / size))} ${name}${smaller && rest ? ` ${rest} ${smaller}` : ""}`;
}

/** How long ago: in one unit, and from a week on as a date. */
export function ago(time, now) {
  const seconds = (now - time) / 1000;
  if (seconds < 5) return "just now";
  if (seconds >= 7 * 86_400) return DAY.format(time);
  const [name, size] = UNITS.find(([, each]) => seconds >= each);
  return `${Math.floor(seconds / size)} ${name} ago`;
}

export const moment = (time) => MOMENT.format(time);
