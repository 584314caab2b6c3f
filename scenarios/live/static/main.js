// The page: it wires what the server says to the panels, and what hands do to the server.

import { OwnCamera } from "./camera.js";
import { Charts } from "./charts.js";
import { drawClocks, drawPace, drawStory } from "./clocks.js";
import { Controls } from "./controls.js";
import * as format from "./format.js";
import { get, make, plain, renew, say } from "./dom.js";
import { listen } from "./keys.js";
import { drawLog, drawMeter, drawNotice } from "./overview.js";
import { Scene } from "./scene.js";
import { add, begin, runTime } from "./state.js";
import { Strip } from "./strip.js";
import * as theme from "./theme.js";
import { Waterfall } from "./waterfall.js";
import { Wire } from "./wire.js";

const FRAME_MS = 50;
const SLOW_MS = 250;
const SPEAK_MS = 5000;

const link = { word: "connecting", text: "" };
const view = { fresh: false, seeking: false, own: false, lost: false, now: -1, slow: 0, fast: 0, spoken: 0, said: "" };
let model = null;

const redraw = () => { view.fresh = true; };
const wire = new Wire(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`, {
  message(message, blobs) {
    const now = performance.now();
    if (message.type === "state") {
      const before = view.own && view.lost ? { ...model.clock } : null;
      view.lost = false;
      model = begin(message, blobs, now);
      settle();
      if (before) goBack(before);
    } else if (model) {
      add(model, message, blobs, now);
      strip.note(model, now);
    }
    wire.still = Boolean(model?.clock?.paused || model?.clock?.done);
    redraw();
  },
  status(word, text) {
    Object.assign(link, { word, text });
    view.lost ||= word === "lost";
    redraw();
  },
});
const ask = (command) => wire.ask(command);
const scene = new Scene(redraw, (id) => wire.fetch(id));
const strip = new Strip();
const waterfall = new Waterfall();
const charts = new Charts();
const controls = new Controls(ask);
const camera = new OwnCamera((bytes) => wire.show(bytes));

const visible = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) visible[isIntersecting ? "add" : "delete"](target);
  redraw();
}, { rootMargin: "100px" });
for (const id of ["strip", "waterfall", "charts"]) watcher.observe(get(id));

const steers = () => Boolean(model?.session.may_steer && link.word !== "lost");
/** Whether this viewer may pause, step and speed up: in a replay everybody, each for oneself. */
const winds = () => Boolean(link.word !== "lost" && (model?.session.may_steer || model?.session.mode === "replay"));

/** Lay out what a new state decides. */
function settle() {
  const session = model.session;
  say(get("title"), plain(session.title));
  get("title").title = plain(session.title);
  document.title = `${plain(session.title)} – farlink`;
  say(get("subtitle"), [session.codec, session.source, `${session.size?.join(" × ")} px`].filter(Boolean).map(plain).join(" · "));
  scene.reset();
  strip.reset(model);
  controls.build(model);
  const replay = session.mode === "replay";
  get("seek-bar").hidden = !replay;
  get("watching").hidden = session.may_steer || replay;
  get("replaying").hidden = !replay;
  get("pace").setAttribute("aria-label", replay ? "Pace of the replay, for you alone" : "Pace of the link, for all viewers");
  say(get("live"), replay ? "Now" : "Live");
  get("live").title = replay ? "Back to the time of the replay (l)" : "Back to live (l)";
  if (replay) get("seek").max = Math.ceil(session.duration_ns / format.SECOND);
  camera.offer(Boolean(session.camera && session.may_steer));
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

/** One sentence for screen readers, at most every five seconds. */
function speak(now, wall) {
  if (wall - view.spoken < SPEAK_MS) return;
  const frame = scene.chosen(model);
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
  if (view.fresh || wall - view.slow > SLOW_MS) {
    drawClocks(model, now, link);
    scene.draw(model, now, link);
    controls.draw(model, now, steers() && model.session.mode === "live" && !model.clock?.done);
  }
  if (view.fresh) {
    drawPace(model, winds());
    drawMeter(model);
    drawStory(model);
    drawLog(model);
    drawNotice(model, view.seeking);
  }
  view.fresh = false;
  if (wall - view.slow > SLOW_MS) {
    view.slow = wall;
    if (visible.has(get("waterfall"))) waterfall.draw(model, now);
    charts.draw(model, now, visible.has(get("charts")));
    speak(now, wall);
  } else view.fresh ||= !moves;  // what is slow has yet to show the last change
}

/** After a connection was lost, go on in the replay where this viewer was. */
async function goBack(clock) {
  view.own = false;
  if (model.session.mode !== "replay") return;
  await seek(clock.run_ns);
  await pace(clock.paused ? "pause" : null, clock.factor);
}

async function seek(ns) {
  const refused = await ask({ do: "seek", ns: Math.round(ns) });
  view.own ||= !refused;
  say(get("pace-refused"), refused ? `Refused: ${plain(refused)}` : "");
}

async function pace(turn, factor = null) {
  const refused = await ask({ do: "pace", turn, factor });
  view.own ||= !refused;
  say(get("pace-refused"), refused ? `Refused: ${plain(refused)}` : "");
  redraw();
}

const acts = {
  pause: () => pace(model?.clock?.paused && !model.clock.jumping ? "resume" : "pause"),
  step: () => pace("event"),
  next: () => pace("picture"),
  live: () => scene.follow(),
  overlay: (name) => scene.toggle(name),
};

for (const id of ["pause", "step", "next", "live"]) get(id).addEventListener("click", acts[id]);
get("factor").addEventListener("change", (event) => pace(null, Number(event.target.value)));
for (const button of document.querySelectorAll("[data-overlay]")) button.addEventListener("click", () => acts.overlay(button.dataset.overlay));
get("exact").addEventListener("click", () => scene.inexact(model).forEach((id) => wire.fetch(id)));
get("seek").addEventListener("input", () => {
  view.seeking = true;
  drawNotice(model, view.seeking);
});
get("seek").addEventListener("change", async (event) => {
  await seek(Math.min(event.target.value * format.SECOND, model.session.duration_ns));
  view.seeking = false;
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

theme.begin(redraw);
window.addEventListener("resize", redraw);
listen({
  " ": acts.pause, ".": acts.step, n: acts.next, l: acts.live,
  1: () => acts.overlay("boxes"), 2: () => acts.overlay("masks"), 3: () => acts.overlay("depth"), 4: () => acts.overlay("truth"),
  m: () => get("mark-text").focus(), "?": () => get("help-dialog").showModal(),
});
requestAnimationFrame(paint);
