// Small curves over run time, with axes, units and the marks of changes.

import * as format from "./format.js";
import { palette, surface, ticks, timeTicks } from "./canvas.js";
import { capital, get, make, plain, renew, say } from "./dom.js";

const ORDER = ["age", "latency", "bit_rate", "loss", "queue", "psnr", "miou"];
const WALL_S = 120;
const LEFT = 46;
const FOOT = 18;

function figure(value, unit) {
  if (value === null || value === undefined) return "no value";
  if (unit === "s") return format.lasting(value);
  if (unit === "bit/s") return format.rate(value);
  return `${format.short(value)}${unit ? ` ${unit}` : ""}`;
}

export class Charts {
  constructor() {
    this.root = get("charts");
    this.parts = new Map();
  }

  /** Say the values and list the changes; draw the curves where they are *visible*. */
  draw(model, now, visible) {
    const names = Object.keys(model.curves).sort((a, b) => rank(a) - rank(b));
    renew(this.root, names.join(), () => names.map((name) => this.#build(name, model.curves[name])));
    const end = now / 1e9;
    const start = Math.max(0, end - WALL_S * Math.max(1, model.clock?.factor ?? 1));
    const marks = model.marks.filter((one) => one.t_s >= start && one.t_s <= end);
    const numbers = new Map(model.marks.map((one, at) => [one, at + 1]));
    for (const name of names) this.#curve(name, model.curves[name], start, end, marks, numbers, visible);
    this.#list(model.marks, numbers);
    get("charts-empty").hidden = names.length > 0;
  }

  #build(name, curve) {
    const value = make("b");
    const canvas = make("canvas", { role: "img" });
    this.parts.set(name, { value, canvas });
    return make("figure", {}, make("figcaption", {}, make("span", { text: capital(plain(curve.label)) }), value), canvas);
  }

  #curve(name, curve, start, end, marks, numbers, visible) {
    const { value, canvas } = this.parts.get(name);
    const points = curve.points.filter(([t]) => t >= start && t <= end + 1);
    const last = curve.points.at(-1)?.[1];
    say(value, figure(last, curve.unit));
    canvas.setAttribute("aria-label", `${curve.label}: ${figure(last, curve.unit)} now`);
    const drawn = visible ? surface(canvas) : null;
    if (!drawn) return;
    const { context, width, height } = drawn;
    const colour = palette();
    context.font = `11px ${colour.font}`;
    const values = points.map((one) => one[1]).filter((one) => one !== null && Number.isFinite(one));
    const floor = name === "psnr" && values.length ? Math.min(...values) - 1 : 0;
    const highest = Math.max(...values, floor);
    const top = highest > floor ? highest : floor + 1;
    const steps = curve.unit === "s" ? timeTicks(floor, top, 2).found : ticks(floor, top);
    const high = top + 0.02 * (top - floor);
    const x = (t) => LEFT + ((t - start) / Math.max(1e-9, end - start)) * (width - LEFT - 6);
    const y = (v) => 17 + (1 - (v - floor) / (high - floor)) * (height - FOOT - 20);
    context.strokeStyle = colour.line;
    context.fillStyle = colour.soft;
    context.textAlign = "right";
    for (const step of steps) {
      const at = Math.round(y(step)) + 0.5;
      stroke(context, [[LEFT, at], [width - 6, at]], colour.line, 1);
      context.fillText(tickText(step, curve.unit), LEFT - 6, at);
    }
    context.textAlign = "center";
    for (const t of timeTicks(start, end, (width - LEFT) / 64).found) {
      const text = format.clock(t * 1e9);
      const half = context.measureText(text).width / 2;
      if (x(t) - half > LEFT - 24 && x(t) + half < width) context.fillText(text, x(t), height - FOOT / 2 + 2);
    }
    for (const mark of marks) {
      context.setLineDash([2, 3]);
      stroke(context, [[x(mark.t_s), 14], [x(mark.t_s), height - FOOT]], colour.soft, 1);
      context.setLineDash([]);
      this.#flag(context, x(mark.t_s), String(numbers.get(mark)));
    }
    context.textAlign = "left";
    for (const run of runs(points)) {
      if (run.length === 1) {
        context.fillStyle = colour.blue;
        context.fillRect(x(run[0][0]) - 1.5, y(run[0][1]) - 1.5, 3, 3);
      } else stroke(context, run.map(([t, v]) => [x(t), y(v)]), colour.blue, 1.75);
    }
  }

  #flag(context, x, text) {
    const wide = context.measureText(text).width + 6;
    context.fillStyle = palette().panel;
    context.fillRect(x - wide / 2, 0, wide, 13);
    context.fillStyle = palette().ink;
    context.fillText(text, x, 7);
  }

  #list(marks, numbers) {
    const recent = marks.slice(-6).reverse();
    renew(get("marks"), JSON.stringify(recent), () => recent.map((one) => make("li", {}, make("b", { text: String(numbers.get(one)) }),
      make("time", { text: format.clock(one.t_s * 1e9) }), make("span", { text: plain(one.text) }),
      one.by ? make("span", { class: "soft", text: `by ${plain(one.by)}` }) : null)));
    get("marks-empty").hidden = recent.length > 0;
  }
}

const rank = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);

function tickText(value, unit) {
  if (unit === "s") return value >= 120 ? `${format.short(value / 60)} min` : `${format.short(value)} s`;
  if (unit === "bit/s") return value >= 1e6 ? `${format.short(value / 1e6)}M` : value >= 1e3 ? `${format.short(value / 1e3)}k` : format.short(value);
  return format.short(value);
}

function runs(points) {
  const found = [[]];
  for (const point of points) {
    if (point[1] === null || !Number.isFinite(point[1])) found.push([]);
    else found.at(-1).push(point);
  }
  return found.filter((run) => run.length);
}

function stroke(context, line, colour, width) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.lineJoin = "round";
  context.beginPath();
  line.forEach(([x, y], at) => (at ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
}
