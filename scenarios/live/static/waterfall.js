// The waterfall: a line for each packet; it waits, is on the air, flies, and arrives or does not.

import * as format from "./format.js";
import { drawCross, fit, hatch, palette, surface, timeTicks } from "./canvas.js";
import { get } from "./dom.js";
import { answers, REASONS, toneOf, underWay } from "./packets.js";

const ROW = 15;
const TALL = 24;
const FOOT = 22;

const endOf = (packet, now) => packet.end ?? now;

/** The newest of *packets* at *now*, by whole frames, that fill a quarter of their time or more; those that are on their
 * way and all after them; one frame at least. */
export function busy(packets, now) {
  const groups = [];
  let frame;
  for (const packet of packets) {
    if (!groups.length || (packet.frame !== null && packet.frame !== frame)) {
      groups.push([]);
      frame = packet.frame;
    }
    groups.at(-1).push(packet);
  }
  let kept = [];
  let filled = 0;
  const oldest = groups.find((group) => group.some((one) => one.end === null));  // what is on its way is always shown
  let within = oldest !== undefined;
  for (const group of groups.reverse()) {
    const sent = Math.min(...group.map((one) => one.sent));
    filled += Math.max(...group.map((one) => endOf(one, now))) - sent;
    if (!within && kept.length && filled < 0.25 * (Math.max(...kept.map((one) => endOf(one, now))) - sent)) break;
    kept = group.concat(kept);
    within &&= group !== oldest;
  }
  return kept;
}

export class Waterfall {
  constructor() {
    this.canvas = get("waterfall");
  }

  draw(model, now) {
    const drawn = surface(this.canvas);
    if (!drawn) return;
    const { context, width, height } = drawn;
    const count = Math.floor((height - FOOT) / ROW);
    const shown = busy([...model.packets.values()].slice(-count), now);
    const open = new Map(underWay(model, now).map((one) => [one.packet.number, one.leg]));
    const label = width < 480 ? 92 : 150;
    const colour = palette();
    if (!shown.length) {
      context.fillStyle = colour.soft;
      context.fillText("No packet has been sent yet.", 0, 12);
      return;
    }
    const start = Math.min(...shown.map((one) => one.sent));
    const last = Math.max(...shown.map((one) => endOf(one, now)));
    // Where nothing is on its way, time that only passes would press all bars together.
    const end = open.size || now - last < 0.5 * (last - start) ? Math.max(now, last) : last;
    const until = end + 0.04 * (end - start) + 1e6;
    const right = width - 10;
    const x = (ns) => label + ((ns - start) / (until - start)) * (right - label);
    this.#axis(context, start, until, x, label, right, height);
    const row = Math.min(TALL, Math.max(ROW, (height - FOOT) / shown.length));
    let frame = null;
    shown.forEach((packet, index) => {
      const first = packet.frame !== null && packet.frame !== frame;
      if (first) frame = packet.frame;
      this.#row(context, packet, open.get(packet.number), (index + 0.5) * row, x, now, label, width, first && index > 0 ? row : 0, first);
    });
    if (now <= until) {
      context.strokeStyle = colour.ink;
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(x(now), 0);
      context.lineTo(x(now), height - FOOT);
      context.stroke();
    }
    const lost = shown.filter((one) => one.fate && one.fate !== "delivered").length;
    this.canvas.setAttribute("aria-label", `The last ${format.plural(shown.length, "packet")} over time: ${lost} lost, ${open.size} on the way`);
  }

  #axis(context, start, until, x, label, right, height) {
    const colour = palette();
    const { step, found } = timeTicks(start / 1e9, until / 1e9, (right - label) / 86);
    context.strokeStyle = colour.line;
    context.fillStyle = colour.soft;
    context.lineWidth = 1;
    context.textAlign = "center";
    for (const t of found) {
      const at = Math.round(x(t * 1e9)) + 0.5;
      context.beginPath();
      context.moveTo(at, 0);
      context.lineTo(at, height - FOOT);
      context.stroke();
      const text = step >= 1 ? format.clock(t * 1e9) : `${format.clock(t * 1e9)}${(t % 1).toFixed(step < 0.01 ? 3 : 2).slice(1)}`;
      const half = context.measureText(text).width / 2;
      if (at - half > label - 20 && at + half < right + 8) context.fillText(text, at, height - FOOT / 2 + 2);
    }
    context.textAlign = "left";
  }

  #row(context, packet, leg, y, x, now, label, width, line, first) {
    const colour = palette();
    const tone = toneOf(packet);
    if (line) {
      context.strokeStyle = colour.line;
      context.beginPath();
      context.moveTo(0, Math.round(y - line / 2) + 0.5);
      context.lineTo(width, Math.round(y - line / 2) + 0.5);
      context.stroke();
    }
    context.font = `11.5px ${colour.font}`;
    if (first) {
      context.fillStyle = colour.ink;
      fit(context, String(packet.frame), 0, y, 26);
    }
    context.fillStyle = colour.soft;
    const what = answers(packet) ? packet.kind : packet.kind === "fec" ? "FEC" : (packet.section || packet.kind).replace(/_/g, " ");
    fit(context, label > 100 ? `${what}, ${packet.bytes} B` : what, 30, y, label - 36);
    for (const one of packet.legs) this.#leg(context, one, y, x, tone, now);
    if (leg) this.#leg(context, leg, y, x, tone, now);
    if (packet.fate) this.#end(context, packet, x(packet.end), y, width, tone);
  }

  #leg(context, leg, y, x, tone, now) {
    const colour = palette();
    const until = (ns) => x(Math.min(ns, now));
    if (leg.air > leg.enter) {
      context.fillStyle = hatch(context, colour.faint, 4);
      context.fillRect(x(leg.enter), y - 3, until(leg.air) - x(leg.enter), 6);
    }
    if (now > leg.air) {
      context.fillStyle = tone;
      context.fillRect(x(leg.air), y - 4, Math.max(2, until(leg.fly) - x(leg.air)), 8);
    }
    if (now > leg.fly && leg.leave > leg.fly) {
      context.strokeStyle = tone;
      context.lineWidth = 1.5;
      context.setLineDash(leg.open ? [3, 3] : []);
      context.beginPath();
      context.moveTo(x(leg.fly), y);
      context.lineTo(until(leg.leave), y);
      context.stroke();
      context.setLineDash([]);
    }
  }

  #end(context, packet, x, y, width, tone) {
    const colour = palette();
    if (packet.fate === "delivered") {
      context.fillStyle = tone;
      context.beginPath();
      context.arc(x, y, 3.5, 0, 7);
      context.fill();
      return;
    }
    drawCross(context, x, y, 3.5, colour.red);
    const text = REASONS[packet.fate] ?? packet.fate.replace(/_/g, " ");
    const before = x + 9 + context.measureText(text).width > width;
    const measured = context.measureText(text).width;
    const left = before ? x - 9 - measured : x + 9;
    context.fillStyle = colour.panel;
    context.fillRect(left - 2, y - 7, measured + 4, 14);
    context.fillStyle = colour.red;
    context.fillText(text, left, y);
  }
}
