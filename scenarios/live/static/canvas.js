// Canvases that fill their box at the screen's resolution, and the colours of the theme in use.

let colours = null;

/** Colours of the style sheet's custom properties, read once for each theme. */
export function palette() {
  if (colours) return colours;
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  colours = {};
  for (const name of ["ink", "soft", "faint", "line", "panel", "ground", "blue", "sky", "green", "orange", "red", "purple", "yellow"]) {
    colours[name] = read(name);
  }
  colours.font = style.getPropertyValue("--sans").trim();
  return colours;
}

export function forgetPalette() {
  colours = null;
}

/** Return a cleared context in CSS pixels with the canvas's width and height, or null where it is not shown. */
export function surface(canvas) {
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (!width || !height) return null;
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const across = Math.round(width * ratio);
  const down = Math.round(height * ratio);
  if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = `12px ${palette().font}`;
  context.textBaseline = "middle";
  return { context, width, height };
}

/** A cross around (*x*, *y*), *reach* pixels each way: what was lost. */
export function drawCross(context, x, y, reach, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(x - reach, y - reach);
  context.lineTo(x + reach, y + reach);
  context.moveTo(x + reach, y - reach);
  context.lineTo(x - reach, y + reach);
  context.stroke();
}

const patterns = new Map();

/** A pattern of slanted lines of *colour*. */
export function hatch(context, colour, gap = 6) {
  const key = `${colour} ${gap}`;
  if (!patterns.has(key)) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = gap * 2;
    const pen = tile.getContext("2d");
    pen.strokeStyle = colour;
    pen.lineWidth = gap / 3.2;
    for (const shift of [-2 * gap, -gap, 0, gap, 2 * gap]) {
      pen.beginPath();
      pen.moveTo(shift - 2, gap * 2 + 2);
      pen.lineTo(shift + gap * 2 + 2, -2);
      pen.stroke();
    }
    patterns.set(key, context.createPattern(tile, "repeat"));
  }
  return patterns.get(key);
}

/** Write *text* cut to *width* with an ellipsis. */
export function fit(context, text, x, y, width) {
  let shown = text;
  while (shown.length > 1 && context.measureText(shown).width > width) shown = `${shown.slice(0, shown.endsWith("…") ? -2 : -1)}…`;
  context.fillText(shown, x, y);
}

/** One to four round steps between *low* and *high*, beside *low* where it is round. */
export function ticks(low, high) {
  const most = 0.75 * (high - low);
  if (!(most > 0)) return [low];
  const base = 10 ** Math.floor(Math.log10(most));
  const step = [5, 2, 1].map((one) => one * base).find((one) => one <= most * (1 + 1e-9));
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step) found.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  return found;
}

/** Round steps of a time axis in seconds: 1, 2, 5, 10, 15, 30 s, minutes, hours. */
export function timeTicks(low, high, count) {
  const steps = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400];
  const step = steps.find((one) => one >= (high - low) / count) ?? 86400 * Math.ceil((high - low) / count / 86400);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high; at += step) found.push(at);
  return { step, found };
}
