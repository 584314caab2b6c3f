// What crossed the link for one frame: caption, bytes by kind, channel tiles.

import * as format from "./format.js";
import { get, make, plain, renew, say } from "./dom.js";
import { bitmap } from "./pictures.js";

// Names, and the class that gives colour and texture. Kinds not listed take the last.
const KINDS = {
  caption: ["caption", "k-caption"], channels: ["channels", "k-channels"], header: ["headers", "k-header"],
  fec: ["FEC", "k-fec"], repair: ["sent again", "k-repair"], feedback: ["answers", "k-feedback"],
};
const MARKS = { true: "arrived", false: "lost", null: "on its way" };

export class Crossed {
  constructor(redraw) {
    this.redraw = redraw;
  }

  /** *channels*: how many there may be, null for a codec that sends none. */
  draw(frame, kinds, channels) {
    const parts = Object.entries(frame?.bytes ?? {}).filter(([, count]) => count > 0);
    const total = frame?.on_air ?? parts.reduce((sum, [, count]) => sum + count, 0);
    say(get("on-air"), frame ? format.bytes(total) : "nothing yet");
    say(get("on-air-of"), frame ? `on the air for frame ${frame.frame}` : "");
    this.#caption(frame);
    this.#bar(parts);
    get("tiles-head").hidden = get("tiles").hidden = channels === null;
    if (channels !== null) this.#tiles(frame, kinds?.tiles, channels);
  }

  #caption(frame) {
    const caption = get("caption");
    const has = frame?.caption !== null && frame?.caption !== undefined;
    say(caption, has ? `“${plain(frame.caption)}”` : frame ? "No caption was sent." : "No frame has been sent yet.");
    caption.classList.toggle("soft", !has);
    const state = get("caption-state");
    state.hidden = !has;
    say(state, MARKS[frame?.caption_arrived ?? null]);
    state.className = `chip ${{ true: "good", false: "bad" }[frame?.caption_arrived] ?? ""}`;
  }

  #bar(parts) {
    const key = JSON.stringify(parts);
    const known = ([kind]) => KINDS[kind] ?? [kind.replace(/_/g, " "), "k-other"];
    renew(get("bar"), key, () => parts.map((part) => {
      const piece = make("i", { class: known(part)[1] });
      piece.style.flexGrow = part[1];
      return piece;
    }));
    renew(get("bar-legend"), key, () => parts.map((part) => make("li", {}, make("i", { class: known(part)[1] }),
      make("span", { text: known(part)[0] }), make("b", { text: String(part[1]) }))));
    get("bar").setAttribute("aria-label", parts.length ? `Bytes by kind: ${parts.map((part) => `${known(part)[0]} ${part[1]}`).join(", ")}` : "No bytes yet");
  }

  #tiles(frame, atlas, count) {
    const image = bitmap(atlas, this.redraw);
    if (atlas && image === null && get("tiles").builtFrom) return;  // a moment, until it is decoded: no flicker
    const list = frame?.channels ?? [];
    const sent = new Map(list.map((one) => [one.channel, one]));
    const many = Math.max(count, ...list.map((one) => one.channel + 1));
    const arrived = list.filter((one) => one.arrived).length;
    const lost = list.filter((one) => one.arrived === false).length;
    say(get("tiles-fact"), list.length ? `${format.plural(list.length, "channel")} of ${many} sent, ${arrived} arrived${lost ? `, ${lost} lost` : ""}` : "no channels were sent");
    const grid = get("tiles");
    renew(grid, JSON.stringify([many, list, frame?.frame, Boolean(image)]), () => Array.from({ length: many }, (_, channel) => {
      const one = sent.get(channel);
      const state = !one ? "unsent" : one.arrived === false ? "lost" : one.arrived ? "arrived" : "arriving";
      const words = !one ? "not sent" : `${format.bytes(one.bytes)}, ${MARKS[one.arrived ?? null]}`;
      return make("li", { class: state, title: `channel ${channel}: ${words}` }, this.#tile(image, atlas, channel, state),
        make("span", { class: "hide", text: `channel ${channel}: ${words}` }),
        make("small", { "aria-hidden": "true", text: one ? String(one.bytes) : "" }));
    }));
  }

  #tile(image, atlas, channel, state) {
    if (!image || state === "lost" || state === "unsent") return make("i");
    const columns = atlas.columns ?? 8;
    const side = Math.floor(image.width / columns);  // cells are square; a tile fills three quarters from the top
    const down = Math.round(0.75 * side);
    const canvas = make("canvas", { width: side, height: down, "aria-hidden": "true" });
    canvas.getContext("2d").drawImage(image, (channel % columns) * side, Math.floor(channel / columns) * side, side, down, 0, 0, side, down);
    return canvas;
  }
}
