// The clocks of both ends, how the session stands, and its pace.

import * as format from "./format.js";
import { get, make, plain, renew, say } from "./dom.js";
import { newest } from "./state.js";
import { nodes } from "./strip.js";

const FACTORS = [0.125, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600];

/** How the session stands, in a word and a class. */
export function standing(model, link) {
  const clock = model?.clock;
  if (link.word === "lost") return ["no connection", "lost"];
  if (link.word === "quiet") return ["no news", "lost"];
  if (!clock) return ["connecting", "wait"];
  const [away, loads] = ["absent", "loading"].map((how) => Object.keys(model.ends).filter((end) => model.ends[end] === how));
  if (away.length) return [`waiting for ${away.map((one) => `the ${one}`).join(" and ")}`, "wait"];
  if (loads.length) return [`${loads.join(" and ")} ${loads.length > 1 ? "load" : "loads"}`, "wait"];
  if (clock.lost) return ["ended early", "lost"];
  if (clock.done) return ["ended", "still"];
  if (clock.jumping) return [`to the next ${clock.jumping}`, "live"];
  if (clock.paused) return ["paused", "still"];
  return [model.session.mode === "replay" ? "replay" : "live", "live"];
}

export function drawClocks(model, now, link) {
  const [word, kind] = standing(model, link);
  say(get("standing-word"), word);
  get("standing").className = `standing ${kind}`;
  const [near, far] = [nodes(model.session)[0], nodes(model.session).at(-1)];
  say(get("near-name"), `${near} now`);
  say(get("near-clock"), format.clock(now));
  const shown = newest(model, "received");
  const frame = shown === null ? null : model.frames.get(shown);
  say(get("far-name"), `${far} sees`);
  say(get("far-clock"), frame ? format.clock(frame.captured_ns) : "nothing yet");
  say(get("lag"), frame ? `${format.lasting((now - frame.captured_ns) / 1e9)} ago` : "");
}

/** Pace buttons as the link's clock has them; *able* says whether this viewer may press them. */
export function drawPace(model, able) {
  const clock = model.clock ?? {};
  const still = clock.paused && !clock.jumping;
  const pause = get("pause");
  say(pause.querySelector("span"), still ? "Resume" : "Pause");
  pause.setAttribute("aria-pressed", String(Boolean(still)));
  const over = !able || Boolean(clock.done && model.session.mode === "live");
  for (const id of ["pause", "step", "next", "factor"]) if (get(id).disabled !== over) get(id).disabled = over;
  const factor = clock.factor ?? 1;
  const offered = [...new Set([...FACTORS, factor])].sort((a, b) => a - b);
  const select = get("factor");
  renew(select, offered.join(), () => offered.map((one) => make("option", { value: one, text: format.factor(one) })));
  if (document.activeElement !== select || select.value !== String(factor)) select.value = String(factor);
  const limit = clock.limit_factor;
  const words = limit ? `at most ${format.factor(limit)}${clock.draw_s ? `: a picture takes ${format.lasting(clock.draw_s)} to draw` : ""}` : "";
  say(get("limit"), words);
}

/** The story's card. Between two cards the last one stays, dimmed, so that the page does not jump. */
export function drawStory(model) {
  const { story } = model;
  const root = get("story");
  const card = story?.card ?? null;
  if (card) {
    say(get("story-title"), plain(card.title));
    say(get("story-text"), plain(card.text));
  }
  root.hidden = !story || !get("story-title").textContent;
  root.classList.toggle("past", !card);
  const known = Number.isFinite(story?.ends_s) && story.ends_s > 0;
  get("story-bar").hidden = !known;
  if (known) get("story-bar").value = Math.min(1, Math.max(story.at_s ?? 0, 0) / story.ends_s);
}
