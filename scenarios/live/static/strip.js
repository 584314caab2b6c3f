// The light-time strip: where each packet is between the two ends, at (t - sent) / delay of each hop.

import * as format from "./format.js";
import { drawCross, palette, surface } from "./canvas.js";
import { get, plain, say } from "./dom.js";
import { answers, REASONS, toneOf, underWay } from "./packets.js";
import { ofHop } from "./state.js";

const FALL_MS = 1800;
const REDUCED = window.matchMedia("(prefers-reduced-motion: reduce)");

/** Names of the nodes: the two ends and what lies between, from names of hops such as `orbiter-earth`. */
export function nodes(session) {
  const pairs = session.hops.map((hop) => (hop.name ?? "").split("-"));
  const words = [pairs[0]?.[0], ...pairs.map((pair) => pair[1])];
  const whole = pairs.length > 0 && pairs.every((pair) => pair.length === 2 && pair[0] && pair[1]);
  const named = session.hops.map((_, at) => (whole ? words[at] : at ? `relay ${at}` : "sender"));
  named.push(whole ? words.at(-1) : "receiver");
  if (session.ends) [named[0], named[named.length - 1]] = session.ends;
  return named.map((name) => plain(name).replace(/^./, (letter) => letter.toUpperCase()));
}

export class Strip {
  constructor() {
    this.canvas = get("strip");
    this.falling = [];
    this.seen = new Map();
  }

  /** Forget what fell: a new state has come. */
  reset(model) {
    this.falling = [];
    this.seen = new Map([...model.packets.values()].filter((one) => one.fate).map((one) => [one.number, true]));
  }

  /** Take note of packets that ended since the last tick. */
  note(model, wall) {
    for (const packet of model.packets.values()) {
      if (!packet.fate || this.seen.has(packet.number)) continue;
      this.seen.set(packet.number, true);
      if (packet.fate !== "delivered") this.falling.push({ packet, wall });
    }
    this.falling = this.falling.slice(-60);
    for (const number of this.seen.keys()) {
      if (this.seen.size <= 8000) break;
      this.seen.delete(number);
    }
  }

  get moving() {
    return !REDUCED.matches;
  }

  draw(model, now, wall) {
    const waits = model.queues.reduce((sum, count) => sum + count, 0);
    say(get("strip-fact"), `${format.plural(model.flying, "packet")} on the way, ${waits} waiting`);
    const drawn = surface(this.canvas);
    if (!drawn) return;
    const { context, width, height } = drawn;
    const plan = this.#plan(model, width, height);
    this.#ground(context, model, plan);
    const open = underWay(model, now);
    if (this.moving) this.#dots(context, plan, open, now);
    else this.#counts(context, plan, open, now);
    this.#nodes(context, plan, width);
    this.#losses(context, plan, wall, width, height);
  }

  #plan(model, width, height) {
    const delays = model.session.hops.map((_, at) => ofHop(model, at, "delay_s") ?? 0);
    const sum = delays.reduce((a, b) => a + b, 0) || 1;
    const shares = delays.map((delay) => Math.max(0.24, delay / sum));
    const whole = shares.reduce((a, b) => a + b, 0);
    const left = width < 500 ? 46 : 84;
    const room = width - left - (width < 500 ? 26 : 48);
    const at = [left];
    for (const share of shares) at.push(at.at(-1) + (room * share) / whole);
    return { at, out: height * 0.42, back: height * 0.66, names: nodes(model.session), delays };
  }

  #ground(context, model, plan) {
    const colour = palette();
    const { at, out, back } = plan;
    context.lineWidth = 1.5;
    context.strokeStyle = colour.faint;
    context.beginPath();
    context.moveTo(at[0], out);
    context.lineTo(at.at(-1), out);
    context.stroke();
    if (model.session.back) {
      context.setLineDash([2, 5]);
      context.beginPath();
      context.moveTo(at[0], back);
      context.lineTo(at.at(-1), back);
      context.stroke();
      context.setLineDash([]);
    }
    context.font = `12px ${colour.font}`;
    context.textAlign = "center";
    context.fillStyle = colour.soft;
    plan.delays.forEach((delay, hop) => {
      const words = `${format.rate(ofHop(model, hop, "rate_bps"))} · ${format.lasting(delay)}`;
      const room = at[hop + 1] - at[hop] - 12;
      if (context.measureText(words).width <= room) context.fillText(words, (at[hop] + at[hop + 1]) / 2, out + 20);
    });
    if (model.session.back) {
      const words = `back: ${format.rate(ofHop(model, -1, "rate_bps"))}`;
      context.fillText(words, (at[0] + at.at(-1)) / 2, back + 15);
    }
    context.textAlign = "left";
  }

  #nodes(context, plan, width) {
    const colour = palette();
    const { at, out } = plan;
    context.lineWidth = 1.5;
    plan.names.forEach((name, index) => {
      const end = index === 0 || index === plan.names.length - 1;
      context.fillStyle = end ? colour.ink : colour.panel;
      context.strokeStyle = colour.ink;
      context.beginPath();
      context.arc(at[index], out, end ? 6 : 5, 0, 7);
      context.fill();
      context.stroke();
      context.fillStyle = colour.ink;
      context.font = `600 13px ${colour.font}`;
      context.textAlign = index === plan.names.length - 1 ? "right" : index ? "center" : "left";
      const x = index === plan.names.length - 1 ? Math.min(width, at[index] + 26) : index ? at[index] : Math.max(0, at[0] - 26);
      context.fillText(name, x, 12);
    });
    context.textAlign = "left";
    context.font = `12px ${colour.font}`;
  }

  #dots(context, plan, open, now) {
    const waiting = new Map();
    for (const { packet, leg } of open) {
      const [from, to] = packet.back ? [plan.at.at(-1), plan.at[0]] : [plan.at[leg.hop], plan.at[leg.hop + 1]];
      const y = packet.back ? plan.back : plan.out;
      if (now < leg.air) {
        const place = waiting.get(leg.hop) ?? 0;
        waiting.set(leg.hop, place + 1);
        this.#wait(context, plan, packet, leg.hop, place, from, y);
      } else if (now < leg.fly) {
        // On the transmitter: a ring that fills.
        context.strokeStyle = toneOf(packet);
        context.lineWidth = 2.5;
        context.beginPath();
        context.arc(from, y, packet.back ? 7 : 10, -Math.PI / 2, -Math.PI / 2 + (2 * Math.PI * (now - leg.air)) / Math.max(1, leg.fly - leg.air));
        context.stroke();
      } else {
        const share = Math.min(1, (now - leg.fly) / Math.max(1, leg.leave - leg.fly));
        this.#mark(context, packet, from + share * (to - from), y, 3 + Math.min(3, packet.bytes / 60));
      }
    }
  }

  /** A packet in the queue: a column beside the near end, a stack above nodes further on. */
  #wait(context, plan, packet, hop, place, from, y) {
    const left = packet.back ? 1 : -1;
    const rows = 4;
    const x = hop <= 0 ? from + left * (18 + 7 * Math.floor(place / rows)) : from - 24.5 + 7 * (place % 8);
    const down = hop <= 0 ? y + 7 * ((place % rows) - 1.5) : y - 19 - 7 * Math.floor(place / 8);
    if (x < 3 || down < 24) return;
    context.fillStyle = toneOf(packet);
    context.fillRect(x - 2.5, down - 2.5, 5, 5);
  }

  /** Data is round, FEC a diamond, what goes back a triangle: shape says it as well as colour. */
  #mark(context, packet, x, y, size) {
    context.fillStyle = toneOf(packet);
    context.beginPath();
    if (answers(packet)) {
      const ahead = packet.back ? -1 : 1;
      context.moveTo(x + ahead * (size + 2), y);
      context.lineTo(x - ahead * size, y - size);
      context.lineTo(x - ahead * size, y + size);
    } else if (packet.kind === "fec") {
      context.moveTo(x - size - 1, y);
      context.lineTo(x, y - size - 1);
      context.lineTo(x + size + 1, y);
      context.lineTo(x, y + size + 1);
    } else context.arc(x, y, size, 0, 7);
    context.fill();
  }

  /** Without motion: how many are on each hop. */
  #counts(context, plan, open, now) {
    const flying = new Map();
    for (const { leg } of open) if (now >= leg.fly) flying.set(leg.hop, (flying.get(leg.hop) ?? 0) + 1);
    context.textAlign = "center";
    context.fillStyle = palette().ink;
    for (const [hop, count] of flying) {
      const x = hop < 0 ? (plan.at[0] + plan.at.at(-1)) / 2 : (plan.at[hop] + plan.at[hop + 1]) / 2;
      context.fillText(`${count} on the way`, x, (hop < 0 ? plan.back : plan.out) - 10);
    }
    context.textAlign = "left";
  }

  #losses(context, plan, wall, width, height) {
    this.falling = this.falling.filter((one) => wall - one.wall < FALL_MS);
    const colour = palette();
    const said = new Map();
    for (const { packet, wall: since } of this.falling) {
      const late = ["bad_checksum", "malformed", "duplicate", "deadline", "version", "peer_slow"].includes(packet.fate);
      const hops = plan.at.length - 1;
      const start = packet.back ? hops : Math.max(0, packet.hop);
      const x = late ? plan.at[packet.back ? 0 : hops] : plan.at[start] + (packet.back ? -14 : 14);
      const from = packet.back ? plan.back : plan.out;
      const share = this.moving ? Math.min(1, (wall - since) / 900) : 1;
      const y = from + (height - 14 - from) * share * share;
      drawCross(context, x, y, 4, colour.red);
      const key = `${Math.round(x)} ${packet.fate}`;
      said.set(key, { x, fate: packet.fate, count: (said.get(key)?.count ?? 0) + 1, key: Math.round(x) });
    }
    const lines = new Map();
    for (const { x, fate, count, key } of said.values()) {
      const line = lines.get(key) ?? 0;
      lines.set(key, line + 1);
      const text = `${count > 1 ? `${count} ` : ""}${REASONS[fate] ?? fate.replace(/_/g, " ")}`;
      const right = x + 10 + context.measureText(text).width > width;
      context.fillStyle = colour.red;
      context.textAlign = right ? "right" : "left";
      context.fillText(text, right ? x - 10 : x + 10, height - 12 - 15 * line);
    }
    context.textAlign = "left";
  }
}
