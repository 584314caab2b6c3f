// The picture, both ends now, and the way back through the ring.

import { hatch, palette, surface } from "./canvas.js";
import { Compare } from "./compare.js";
import { Crossed } from "./crossed.js";
import { get, make, plain, renew, say } from "./dom.js";
import * as format from "./format.js";
import { show } from "./pictures.js";
import { frames, newest, staleness } from "./state.js";
import { nodes } from "./strip.js";

const REST_MS = 150;
const TONES = { complete: "good", refined: "good", partial: "fair", lost: "bad" };
const SCORES = { psnr_db: "PSNR", ms_ssim: "MS-SSIM", lpips: "LPIPS", miou: "mIoU", delta1: "depth within 25 %", map50_95: "boxes, mAP" };

export class Scene {
  /** *fetch(id)* asks for a picture that the page does not hold. */
  constructor(redraw, fetch) {
    Object.assign(this, { redraw, fetch, fetched: new Set(), rest: null });
    this.compare = new Compare(get("compare"), redraw);
    this.crossed = new Crossed(redraw);
    this.frame = null;  // the frame scrubbed to, null for live
    get("ring").addEventListener("input", (event) => {
      this.frame = frames(this.model)[Number(event.target.value)]?.frame ?? null;
      clearTimeout(this.rest);
      this.rest = setTimeout(() => this.#wantPast(), REST_MS);
      redraw();
    });
  }

  /** Ask for pictures of *frame* that the page does not hold, once each: who joined late holds the newest alone. */
  #want(frame, wanted) {
    const kinds = this.model.pictures.get(frame.frame) ?? {};
    for (const kind of wanted) {
      const id = `${kind}-${frame.frame}`;
      if (kinds[kind] || this.fetched.has(id)) continue;
      this.fetched.add(id);
      this.fetch(id);
    }
  }

  #wantPast() {
    const frame = this.model.frames.get(this.frame);
    this.fetched.clear();  // what was let go of since can be asked for again
    if (frame) this.#want(frame, frame.drawn_ns === null ? ["sent"] : ["sent", "received", "tiles"]);
  }

  /** Forget what was asked for: a new state has come. */
  reset() {
    this.frame = null;
    this.fetched.clear();
  }

  /** Go back to live. */
  follow() {
    this.frame = null;
    this.redraw();
  }

  /** Turn the overlay *name* on or off. */
  toggle(name) {
    if (!this.model?.overlays.has(name)) return;
    const on = (this.compare.overlays[name] = !this.compare.overlays[name]);
    document.querySelector(`[data-overlay=${name}]`).setAttribute("aria-pressed", String(on));
    this.redraw();
  }

  /** The frame in the comparison: the one scrubbed to, or the newest that was drawn. */
  chosen(model) {
    if (this.frame !== null && model.frames.has(this.frame)) return model.frames.get(this.frame);
    const frame = newest(model, "received") ?? newest(model, "sent");
    return frame === null ? null : model.frames.get(frame) ?? null;
  }

  /** Ids of the pictures shown that are not lossless. */
  inexact(model) {
    const kinds = model.pictures.get(this.chosen(model)?.frame) ?? {};
    return ["sent", "received"].filter((kind) => kinds[kind] && !kinds[kind].lossless).map((kind) => kinds[kind].id);
  }

  draw(model, now, link) {
    this.model = model;
    if (this.frame !== null && !model.frames.has(this.frame)) this.frame = null;
    const frame = this.chosen(model);
    const kinds = frame ? model.pictures.get(frame.frame) : null;
    for (const button of document.querySelectorAll("[data-overlay]")) button.hidden = !model.overlays.has(button.dataset.overlay);
    get("overlays").hidden = !model.overlays.size;
    // Not every frame is looked up in the truth: where it was not, there is nothing to be laid over it.
    document.querySelector("[data-overlay=truth]").disabled = !(kinds?.truth_segmentation || kinds?.truth_depth || frame?.true_boxes);
    if (kinds?.received) this.#want(frame, ["sent"]);
    this.compare.draw(kinds, frame?.found, frame?.true_boxes);
    this.crossed.draw(frame, kinds, model.session.tiles === false ? null : model.session.channels ?? 32);
    this.#facts(frame, kinds, now, link);
    this.#thumbs(now);
    this.#ring(frame);
  }

  /** Badge and facts: an old picture never looks fresh. */
  #facts(frame, kinds, now, link) {
    const drawn = frame && kinds?.received;
    const past = this.frame !== null;
    const stale = drawn && !past ? staleness(this.model, frame, now) : { lost: [], late: false };
    const old = Boolean(drawn) && !past && (stale.lost.length > 0 || stale.late || link.word === "lost" || link.word === "quiet");
    const fate = format.status(frame?.status);
    const word = !frame ? "waiting" : !drawn ? fate : old ? "old" : past ? `past, ${fate}` : fate;
    const badge = get("badge");
    say(badge, word);
    badge.className = `chip ${old ? "bad" : TONES[past ? "" : frame?.status] ?? ""}`;
    get("compare").classList.toggle("old", old);
    const facts = [];
    if (frame) {
      facts.push(`Frame ${frame.frame}`, `taken ${format.clock(frame.captured_ns)}`);
      if (drawn && !past) facts.push(`${format.lasting((now - frame.captured_ns) / 1e9)} old`);
      if (drawn && past && frame.drawn_ns) facts.push(`${format.lasting((frame.drawn_ns - frame.captured_ns) / 1e9)} old when drawn`);
      if (drawn && frame.closed_ns && frame.drawn_ns > frame.closed_ns) facts.push(`drawn ${format.lasting((frame.drawn_ns - frame.closed_ns) / 1e9)} after it came`);
    }
    say(get("facts"), facts.join(" · "));
    const lost = stale.lost;
    const since = lost.length ? `${lost.length === 1 ? `Frame ${lost[0]} was` : `${lost.length} frames were`} lost since: this is the last picture that came.`
      : stale.late ? "Nothing newer has been drawn for longer than usual." : "";
    say(get("since"), since);
    const scores = Object.entries(frame?.scores ?? {}).filter(([, value]) => value !== null);
    renew(get("scores"), JSON.stringify(scores), () => scores.map(([name, value]) => make("div", {}, make("dt", { text: label(name) }), make("dd", { text: measure(name, value) }))));
    this.#found(frame);
    const exact = drawn && kinds.sent?.lossless && kinds.received.lossless;
    get("exact").hidden = !drawn || Boolean(exact);
    get("picture-row").hidden = get("exact").hidden && get("overlays").hidden;
    const veil = link.word === "lost" || link.word === "quiet" ? link.text : "";
    say(get("veil"), veil);
    get("veil").hidden = !veil;
  }

  #found(frame) {
    const found = Object.entries(frame?.found ?? {}).filter(([, one]) => one.words?.length || one.left_out);
    const told = found.map(([task, one]) => [plain(task).replace(/_/g, " "), (one.words ?? []).map(plain).join(", "), leftOut(one)]);
    renew(get("found"), JSON.stringify(told), () => told.map(([task, words, rest]) => make("li", {},
      make("b", { text: task }), make("span", {}, words, rest ? make("small", { class: "soft", text: ` ${rest}` }) : null))));
  }

  #thumbs(now) {
    const names = nodes(this.model.session);
    say(get("rover-name"), `${names[0]} now`);
    say(get("earth-name"), `${names.at(-1)} now`);
    this.#thumb("rover", newest(this.model, "sent"), "sent", (one) => `frame ${one.frame}, not on the link`);
    this.#thumb("earth", newest(this.model, "received"), "received", (one) => `taken ${format.clock(one.captured_ns)}, ${format.lasting((now - one.captured_ns) / 1e9)} old`);
    this.#rival();
  }

  #thumb(id, number, kind, words) {
    const frame = number === null ? null : this.model.frames.get(number);
    show(get(`${id}-picture`), frame ? this.model.pictures.get(number)?.[kind] : null, this.redraw);
    say(get(`${id}-fact`), frame ? words(frame) : "nothing yet");
  }

  #rival() {
    const rival = this.model.rival;
    get("rival").hidden = !rival;
    if (!rival) return;
    const has = rival.bytes > 0 && this.model.rivalPicture;
    show(get("rival-picture"), has ? this.model.rivalPicture : null, this.redraw);
    say(get("rival-name"), has ? `${plain(rival.codec)} instead` : "No other codec fits");
    say(get("rival-fact"), [has ? `frame ${rival.frame} in ${format.bytes(rival.bytes)}` : "", plain(rival.words ?? "")].filter(Boolean).join("; "));
  }

  /** All frames of the ring as a row of cells, over the range that scrubs through them. */
  #ring(chosen) {
    const all = frames(this.model);
    const range = get("ring");
    const at = this.frame === null ? all.findIndex((one) => one.frame === chosen?.frame) : all.findIndex((one) => one.frame === this.frame);
    range.max = Math.max(0, all.length - 1);
    if (document.activeElement !== range || this.frame === null) range.value = at;
    range.setAttribute("aria-valuetext", at < 0 ? "no frame" : `frame ${all[at].frame}, ${format.status(all[at].status)}${this.frame === null ? ", live" : ""}`);
    get("live").disabled = this.frame === null;
    say(get("ring-fact"), all.length ? `frames ${all[0].frame} to ${all.at(-1).frame}` : "no frames yet");
    const drawn = surface(get("ring-cells"));
    if (!drawn || !all.length) return;
    const { context, width, height } = drawn;
    const colour = palette();
    const wide = Math.min(18, width / all.length);
    all.forEach((one, index) => {
      const x = index * wide;
      const inner = Math.max(1, wide - (wide > 4 ? 2 : 0));
      const fills = { complete: colour.green, refined: colour.green, partial: hatch(context, colour.orange, 5), lost: hatch(context, colour.red, 5) };
      context.fillStyle = fills[one.status] ?? colour.line;
      const tall = one.status === "lost" ? height * 0.45 : one.status === "partial" ? height * 0.75 : fills[one.status] ? height - 4 : 5;
      context.fillRect(x, height - 3 - tall, inner, tall);
      if (index === at) {
        context.fillStyle = colour.ink;
        context.fillRect(x, height - 2, Math.max(3, inner), 2);
      }
    });
    range.style.width = `${Math.min(width, wide * all.length)}px`;
  }
}

/** How many boxes are not drawn, in words. */
function leftOut({ boxes, left_out: rest }) {
  if (!rest) return "";
  return `${boxes?.length ?? 0} drawn, ${rest} less sure or on the same thing left out`;
}

function label(name) {
  return SCORES[name] ?? name.replace(/_(db|m|s)$/, "").replace(/_/g, " ");
}

function measure(name, value) {
  const text = typeof value === "number" ? format.short(value) : plain(value);
  if (name === "delta1" && typeof value === "number") return format.percent(Number(value.toFixed(3)));
  return name.endsWith("_db") ? `${text} dB` : text;
}
