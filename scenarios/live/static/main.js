// The page: it wires what the server says to the panels, and what hands do to the server.

import { forgetPalette, hatch, palette, surface } from "./canvas.js";
import { Charts } from "./charts.js";
import { drawClocks, drawPace, drawStory } from "./clocks.js";
import { Compare } from "./compare.js";
import { Controls } from "./controls.js";
import { Crossed } from "./crossed.js";
import * as format from "./format.js";
import { get, make, plain, renew, say } from "./dom.js";
import { listen } from "./keys.js";
import { show } from "./pictures.js";
import { add, begin, frames, newest, runTime, staleness } from "./state.js";
import { nodes, Strip } from "./strip.js";
import { Waterfall } from "./waterfall.js";
import { Wire } from "./wire.js";

const FRAME_MS = 50;
const SLOW_MS = 250;
const SPEAK_MS = 5000;

const link = { word: "connecting", text: "" };
const view = { frame: null, fresh: false, slow: 0, fast: 0, spoken: 0, said: "" };
let model = null;

const redraw = () => { view.fresh = true; };
const wire = new Wire(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`, {
  message(message, blobs) {
    const now = performance.now();
    if (message.type === "state") {
      model = begin(message, blobs, now);
      settle();
    } else if (model) {
      add(model, message, blobs, now);
      strip.note(model, now);
    }
    wire.still = Boolean(model?.clock?.paused || model?.clock?.done);
    redraw();
  },
  status(word, text) {
    Object.assign(link, { word, text });
    redraw();
  },
});
const ask = (command) => wire.ask(command);
const compare = new Compare(get("compare"), redraw);
const crossed = new Crossed(redraw);
const strip = new Strip();
const waterfall = new Waterfall();
const charts = new Charts();
const controls = new Controls(ask);

const visible = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) visible[isIntersecting ? "add" : "delete"](target);
  redraw();
}, { rootMargin: "100px" });
for (const id of ["strip", "waterfall", "charts"]) watcher.observe(get(id));

const steers = () => Boolean(model?.session.may_steer && link.word !== "lost");

/** Lay out what a new state decides. */
function settle() {
  const session = model.session;
  say(get("title"), plain(session.title));
  document.title = `${plain(session.title)} – farlink`;
  say(get("subtitle"), [session.codec, session.source, `${session.size?.join(" × ")} px`].filter(Boolean).map(plain).join(" · "));
  view.frame = null;
  strip.reset(model);
  controls.build(model);
  const replay = session.mode === "replay";
  get("seek-bar").hidden = !replay;
  get("watching").hidden = session.may_steer || replay;
  get("replaying").hidden = !replay;
  get("mark-form").hidden = !session.may_steer || replay;
  const offers = [["story", "Stories", session.stories ?? []], ["preset", "Scenarios", session.presets ?? []],
    ["codec", "Codec", session.codecs ?? []], ["source", "Source", session.sources ?? []]];
  get("open").disabled = !session.may_steer;
  renew(get("offers"), JSON.stringify(offers), () => offers.filter(([, , list]) => list.length).map(([what, title, list]) => make("section", {},
    make("h3", { text: title }), make("ul", {}, ...list.map((one) => make("li", {}, offer(what, one.name ?? one, one.title ?? one)))))));
}

function offer(what, name, title) {
  return make("button", { type: "button", text: plain(title), onclick: async () => {
    const refused = await ask({ do: "open", what, name });
    say(get("open-refused"), refused ? `Refused: ${plain(refused)}` : "");
    if (!refused) get("open-dialog").close();
  } });
}

/** The frame in the comparison: the one scrubbed to, or the newest that was drawn. */
function chosen() {
  if (view.frame !== null && model.frames.has(view.frame)) return model.frames.get(view.frame);
  const frame = newest(model, "received") ?? newest(model, "sent");
  return frame === null ? null : model.frames.get(frame) ?? null;
}

function drawPicture(now) {
  const frame = chosen();
  const kinds = frame ? model.pictures.get(frame.frame) : null;
  compare.draw(kinds, frame?.found);
  crossed.draw(frame, kinds, model.session.channels ?? 32);
  drawBadge(frame, kinds, now);
  const names = nodes(model.session);
  say(get("rover-name"), `${names[0]} now`);
  say(get("earth-name"), `${names.at(-1)} now`);
  drawThumb("rover", newest(model, "sent"), "sent", (one) => `frame ${one.frame}, not on the link`);
  drawThumb("earth", newest(model, "received"), "received", (one) => `taken ${format.clock(one.captured_ns)}, ${format.lasting((now - one.captured_ns) / 1e9)} old`);
  drawRival();
}

function drawThumb(id, number, kind, words) {
  const frame = number === null ? null : model.frames.get(number);
  const shown = frame && show(get(`${id}-picture`), model.pictures.get(number)?.[kind], redraw);
  get(`${id}-picture`).classList.toggle("empty", !shown && !get(`${id}-picture`).shown);
  say(get(`${id}-fact`), frame ? words(frame) : "nothing yet");
}

function drawRival() {
  const rival = model.rival;
  get("rival").hidden = !rival;
  if (!rival) return;
  const shown = !rival.words && show(get("rival-picture"), model.rivalPicture, redraw);
  get("rival-picture").classList.toggle("empty", !shown);
  say(get("rival-name"), `Same bytes as ${plain(rival.codec)}`);
  say(get("rival-fact"), rival.words ? plain(rival.words) : `frame ${rival.frame}, ${format.bytes(rival.bytes)}`);
}

/** Badge and facts: an old picture never looks fresh. */
function drawBadge(frame, kinds, now) {
  const drawn = frame && kinds?.received;
  const past = view.frame !== null;
  const stale = drawn && !past ? staleness(model, frame, now) : { lost: [], late: false };
  const old = Boolean(drawn) && !past && (stale.lost.length > 0 || stale.late || link.word === "lost" || link.word === "quiet");
  const word = !frame ? "waiting" : !drawn ? frame.status : old ? "old" : past ? `past, ${frame.status}` : frame.status;
  const badge = get("badge");
  say(badge, word);
  badge.className = `chip ${old ? "bad" : { complete: "good", refined: "good", partial: "fair", lost: "bad" }[past ? "" : frame?.status] ?? ""}`;
  get("compare").classList.toggle("old", old);
  const facts = [];
  if (frame) {
    facts.push(`Frame ${frame.frame}`, `taken ${format.clock(frame.captured_ns)}`);
    if (drawn && !past) facts.push(`${format.lasting((now - frame.captured_ns) / 1e9)} old`);
    if (drawn && past && frame.drawn_ns) facts.push(`${format.lasting((frame.drawn_ns - frame.captured_ns) / 1e9)} old when drawn`);
    if (drawn && frame.drawn_ns && frame.closed_ns) facts.push(`drawn ${format.lasting((frame.drawn_ns - frame.closed_ns) / 1e9)} after it came`);
  }
  say(get("facts"), facts.join(" · "));
  const lost = stale.lost;
  const since = lost.length ? `${lost.length === 1 ? `Frame ${lost[0]} was` : `${lost.length} frames were`} lost since: this is the last picture that came.`
    : stale.late ? "Nothing newer has been drawn for longer than usual." : "";
  say(get("since"), since);
  get("since").hidden = !since;
  const scores = Object.entries(frame?.scores ?? {}).filter(([, value]) => value !== null);
  renew(get("scores"), JSON.stringify(scores), () => scores.map(([name, value]) => make("div", {}, make("dt", { text: label(name) }), make("dd", { text: measure(name, value) }))));
  drawFound(frame);
  const exact = drawn && kinds.sent?.lossless && kinds.received.lossless;
  get("exact").disabled = !drawn || Boolean(exact);
  say(get("exact"), exact ? "Pixels are exact" : "Fetch exact pixels");
  const veil = link.word === "lost" || link.word === "quiet" ? link.text : "";
  say(get("veil"), veil);
  get("veil").hidden = !veil;
}

function label(name) {
  const known = { psnr_db: "PSNR", ms_ssim: "MS-SSIM", lpips: "LPIPS", miou: "mIoU", semantic: "meaning kept" };
  return known[name] ?? name.replace(/_(db|m|s)$/, "").replace(/_/g, " ");
}

function measure(name, value) {
  const text = typeof value === "number" ? format.short(value) : plain(value);
  return name.endsWith("_db") ? `${text} dB` : text;
}

function drawFound(frame) {
  const found = Object.entries(frame?.found ?? {}).filter(([, one]) => one.words?.length);
  renew(get("found"), JSON.stringify(found.map(([task, one]) => [task, one.model, one.words])), () => found.map(([task, one]) => make("li", {},
    make("b", { text: plain(task).replace(/_/g, " ") }), make("span", { text: one.words.map(plain).join(", ") }))));
}

/** All frames of the ring as a row of cells, over the range that scrubs through them. */
function drawRing() {
  const all = frames(model);
  const range = get("ring");
  const at = view.frame === null ? all.findIndex((one) => one.frame === chosen()?.frame) : all.findIndex((one) => one.frame === view.frame);
  range.max = Math.max(0, all.length - 1);
  if (document.activeElement !== range || view.frame === null) range.value = at;
  range.setAttribute("aria-valuetext", at < 0 ? "no frame" : `frame ${all[at].frame}, ${all[at].status}${view.frame === null ? ", live" : ""}`);
  get("live").disabled = view.frame === null;
  say(get("ring-fact"), all.length ? `frames ${all[0].frame} to ${all.at(-1).frame}` : "no frames yet");
  const drawn = surface(get("ring-cells"));
  if (!drawn || !all.length) return;
  const { context, width, height } = drawn;
  const colour = palette();
  const wide = Math.min(18, width / all.length);
  all.forEach((one, index) => {
    const x = index * wide;
    const inner = Math.max(1, wide - (wide > 4 ? 2 : 0));
    const fills = { complete: colour.green, refined: colour.green, partial: hatch(context, colour.orange, 3), lost: hatch(context, colour.red, 3) };
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

function drawMeter() {
  const meter = model.meter;
  const share = meter?.used_share ?? 0;
  get("used").value = Math.min(1, share);
  say(get("used-fact"), meter ? `${format.percent(Number(share.toPrecision(2)))} of ${format.rate(meter.rate_bps)}` : "no figures yet");
  say(get("photo-fact"), meter?.photo_s ? `A photo of 60 kB would take ${format.lasting(meter.photo_s)}.` : "");
  const totals = model.totals ?? {};
  const rows = [["sent", "frames sent"], ["complete", "complete"], ["partial", "partial"], ["lost", "lost"], ["superseded", "superseded"], ["skipped", "skipped"], ["packets_sent", "packets"], ["packets_lost", "packets lost"]]
    .filter(([name]) => totals[name] !== undefined).map(([name, words]) => [words, String(totals[name])]);
  if (totals.on_air_bytes !== undefined) rows.push(["on the air", format.bytes(totals.on_air_bytes)]);
  renew(get("totals"), JSON.stringify(rows), () => rows.map(([words, value]) => make("div", {}, make("dt", { text: words }), make("dd", { text: value }))));
}

function drawLog() {
  const lines = model.log.slice(-40);
  renew(get("log"), JSON.stringify(lines), () => lines.map((line) => make("li", { text: plain(line) })).reverse());
  get("log-panel").hidden = !lines.length;
}

function drawNotice() {
  const early = model.clock?.lost;
  get("early").hidden = !early;
  say(get("early"), early ? `The run ended early: ${plain(early)}` : "");
  const range = get("seek");
  if (model.session.mode !== "replay") return;
  const whole = model.session.duration_ns || 1;
  if (!view.seeking) range.value = Math.round((1000 * model.clock.run_ns) / whole);
  range.setAttribute("aria-valuetext", `${format.clock((range.value / 1000) * whole)} of ${format.clock(whole)}`);
  say(get("seek-fact"), `${format.clock(view.seeking ? (range.value / 1000) * whole : model.clock.run_ns)} of ${format.clock(whole)}`);
}

/** One sentence for screen readers, at most every five seconds. */
function speak(now, wall) {
  if (wall - view.spoken < SPEAK_MS) return;
  const frame = chosen();
  const words = link.word === "lost" ? link.text : frame ? `Frame ${frame.frame}, ${get("badge").textContent}` : "";
  if (words === view.said) return;
  view.said = words;
  view.spoken = wall;
  say(get("polite"), words && frame ? `${words}, ${format.lasting((now - frame.captured_ns) / 1e9)} old` : words);
}

function paint(wall) {
  requestAnimationFrame(paint);
  if (!model) {
    say(get("standing-word"), link.word === "lost" ? "no connection" : "connecting");
    return;
  }
  if (wall - view.fast < FRAME_MS) return;
  view.fast = wall;
  const now = runTime(model, performance.now());
  const moves = now !== view.now || strip.falling.length > 0;
  view.now = now;
  if (visible.has(get("strip")) && (view.fresh || (moves && strip.moving))) strip.draw(model, now, performance.now());
  if (!moves && !view.fresh) return;
  drawClocks(model, now, link);
  if (view.fresh || wall - view.slow > SLOW_MS) {
    drawPicture(now);
    controls.draw(model, now, steers() && model.session.mode === "live" && !model.clock?.done);
  }
  if (view.fresh) {
    drawPace(model, steers());
    drawRing();
    drawMeter();
    drawStory(model);
    drawLog();
    drawNotice();
  }
  view.fresh = false;
  if (wall - view.slow > SLOW_MS) {
    view.slow = wall;
    if (visible.has(get("waterfall"))) waterfall.draw(model, now);
    if (visible.has(get("charts"))) charts.draw(model, now);
    speak(now, wall);
  } else view.fresh ||= !moves;  // what is slow has yet to show the last change
}

async function pace(turn, factor = null) {
  const refused = await ask({ do: "pace", turn, factor });
  say(get("pace-refused"), refused ? `Refused: ${plain(refused)}` : "");
  redraw();
}

const acts = {
  pause: () => pace(model?.clock?.paused && !model.clock.jumping ? "resume" : "pause"),
  step: () => pace("event"),
  next: () => pace("picture"),
  live: () => {
    view.frame = null;
    redraw();
  },
  overlay: (name) => {
    const on = (compare.overlays[name] = !compare.overlays[name]);
    document.querySelector(`[data-overlay=${name}]`).setAttribute("aria-pressed", String(on));
    redraw();
  },
};

for (const id of ["pause", "step", "next", "live"]) get(id).addEventListener("click", acts[id]);
get("factor").addEventListener("change", (event) => pace(null, Number(event.target.value)));
for (const button of document.querySelectorAll("[data-overlay]")) button.addEventListener("click", () => acts.overlay(button.dataset.overlay));
get("ring").addEventListener("input", (event) => {
  view.frame = frames(model)[Number(event.target.value)]?.frame ?? null;
  redraw();
});
get("exact").addEventListener("click", () => {
  const kinds = model.pictures.get(chosen()?.frame) ?? {};
  for (const kind of ["sent", "received"]) if (kinds[kind] && !kinds[kind].lossless) wire.fetch(kinds[kind].id);
});
get("seek").addEventListener("input", () => {
  view.seeking = true;
  drawNotice();
});
get("seek").addEventListener("change", async (event) => {
  const refused = await ask({ do: "seek", ns: Math.round((event.target.value / 1000) * model.session.duration_ns) });
  view.seeking = false;
  say(get("pace-refused"), refused ? `Refused: ${plain(refused)}` : "");
});
get("mark-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = get("mark-text").value.trim();
  const refused = text ? await ask({ do: "mark", text }) : null;
  say(get("mark-refused"), refused ? `Refused: ${plain(refused)}` : "");
  if (!refused) get("mark-text").value = "";
});
get("stop").addEventListener("click", async () => {
  await pace("stop");
  get("open-dialog").close();
});
get("open").addEventListener("click", () => get("open-dialog").showModal());

/** Theme: the system's, light or dark, kept for the next visit where the browser allows it. */
function theme(next) {
  const root = document.documentElement;
  if (next === "auto") delete root.dataset.theme;
  else root.dataset.theme = next;
  say(get("theme"), `Theme: ${next}`);
  forgetPalette();
  redraw();
  try {
    localStorage.setItem("theme", next);
  } catch {
    // A private window without storage: the switch works all the same.
  }
}
get("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "auto";
  theme({ auto: "light", light: "dark", dark: "auto" }[now]);
});
let stored = null;
try {
  stored = localStorage.getItem("theme");
} catch {
  stored = null;
}
theme(["light", "dark"].includes(stored) ? stored : "auto");
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  forgetPalette();
  redraw();
});
window.addEventListener("resize", redraw);

listen({
  " ": acts.pause, ".": acts.step, n: acts.next, l: acts.live,
  1: () => acts.overlay("boxes"), 2: () => acts.overlay("masks"), 3: () => acts.overlay("depth"), 4: () => acts.overlay("truth"),
  m: () => get("mark-text").focus(), "?": () => get("help-dialog").showModal(),
});
requestAnimationFrame(paint);
