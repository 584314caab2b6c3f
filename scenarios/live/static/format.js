// Numbers as people read them. All functions are pure.

export const SECOND = 1e9;

const digits = (value, most) => Number(value.toFixed(most)).toString();

/** Three figures at most: 0.36, 4.2, 18, 640. */
export function short(value) {
  const size = Math.abs(value);
  return digits(value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

/** Time since the start, as 00:12:41 (2 d 03:04:05 beyond a day). */
export function clock(ns) {
  const all = Math.max(0, Math.floor(ns / SECOND + 1e-6));
  const two = (value) => String(value).padStart(2, "0");
  const text = `${two(Math.floor(all / 3600) % 24)}:${two(Math.floor(all / 60) % 60)}:${two(all % 60)}`;
  return all < 86400 ? text : `${Math.floor(all / 86400)} d ${text}`;
}

function both(all, large, largeUnit, little, unit) {
  const rest = Math.floor((all % large) / little);
  return `${Math.floor(all / large)} ${largeUnit}${rest ? ` ${rest} ${unit}` : ""}`;
}

/** How long something lasts, in seconds: 0.4 s, 42 s, 11 min 4 s, 2 h 3 min. */
export function lasting(seconds) {
  if (!Number.isFinite(seconds)) return "for ever";
  const s = Math.max(0, seconds);
  if (s < 0.0995) return s === 0 ? "0 s" : `${digits(s * 1000, s < 0.00995 ? 1 : 0)} ms`;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  const all = Math.round(s);
  if (all < 3600) return both(all, 60, "min", 1, "s");
  return all < 86400 ? both(all, 3600, "h", 60, "min") : both(all, 86400, "d", 3600, "h");
}

export function bytes(count) {
  if (count === 1) return "1 byte";
  if (count < 10000) return `${Math.round(count).toLocaleString("en").replace(/,/g, "\u202f")} bytes`;
  return count < 1e6 ? `${short(count / 1e3)} kB` : `${short(count / 1e6)} MB`;
}

export function rate(bps) {
  if (bps === null || bps === undefined || !Number.isFinite(bps)) return "no limit";
  if (bps < 10000) return `${Math.round(bps).toLocaleString("en").replace(/,/g, "\u202f")} bit/s`;
  return bps < 1e6 ? `${short(bps / 1e3)} kbit/s` : `${short(bps / 1e6)} Mbit/s`;
}

export function percent(share) {
  return `${short(100 * share)} %`;
}

export function factor(value) {
  const parts = { 0.125: "1/8", 0.25: "1/4", 0.5: "1/2" };
  return `×${parts[value] ?? short(value)}`;
}

/** A control's value with its unit. Values of percentages are shares, unless their maximum could be none. */
export function setting(control, value) {
  if (value === null || value === undefined) return "none";
  if (control.kind === "switch") return value ? "on" : "off";
  if (control.kind === "choice") {
    const found = (control.choices ?? []).find(([one]) => one === value);
    return found ? String(found[1]) : String(value);
  }
  if (control.unit === "bit/s") return rate(value);
  if (control.unit === "s") return lasting(value);
  if (control.unit === "%") return percent(control.max > 10 ? value / 100 : value);
  if (value !== 0 && Math.abs(value) < 1e-3) return power(value);
  return control.unit ? `${short(value)} ${control.unit}` : short(value);
}

/** A small number as 3·10⁻⁴. */
function power(value) {
  const [figures, exponent] = value.toExponential(1).split("e");
  return `${Number(figures)}·10${[...exponent].map((one) => (one === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(one)])).join("")}`;
}

const STATUSES = { captured: "just taken", sent: "on its way", arriving: "coming in", superseded: "passed over", refined: "complete" };

/** What became of a frame, in words. */
export function status(word) {
  return STATUSES[word] ?? String(word ?? "");
}

export function plural(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}
