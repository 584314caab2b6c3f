// Sent | received: one canvas of the picture's own size, cut at the slider, and one of overlays at the screen's.

import { hatch, palette, surface } from "./canvas.js";
import { plain } from "./dom.js";
import { bitmap } from "./pictures.js";

const TEXT = 13;

export class Compare {
  constructor(root, redraw) {
    this.root = root;
    this.redraw = redraw;
    this.canvas = root.querySelector("#picture");
    this.over = root.querySelector("#overlay");
    this.range = root.querySelector("#split");
    this.divider = root.querySelector("#divider");
    this.overlays = { boxes: false, masks: false, depth: false, truth: false };
    this.range.addEventListener("input", () => this.redraw());
  }

  get share() {
    return Number(this.range.value) / Number(this.range.max);
  }

  /** Draw *kinds* (the pictures of one frame, by kind), what was *found* in it, and the boxes of its truth. */
  draw(kinds, found, trueBoxes) {
    const sent = bitmap(kinds?.sent, this.redraw);
    const received = bitmap(kinds?.received, this.redraw);
    if (!sent && !received && (kinds?.sent || kinds?.received)) return;  // a moment, until they are decoded
    const size = sent ?? received ?? { width: this.canvas.width, height: this.canvas.height };
    if (this.canvas.width !== size.width || this.canvas.height !== size.height) {
      Object.assign(this.canvas, { width: size.width, height: size.height });
    }
    const context = this.canvas.getContext("2d");
    const cut = Math.round(this.share * size.width);
    this.divider.style.left = `${(100 * cut) / size.width}%`;
    this.#half(context, sent, 0, cut, size);
    this.#half(context, received, cut, size.width - cut, size);
    this.root.classList.toggle("nothing-sent", !sent);
    this.root.classList.toggle("nothing-received", !received);
    this.range.setAttribute("aria-valuetext", `${Math.round(100 * this.share)} % sent, ${Math.round(100 - 100 * this.share)} % received`);
    this.#overlay(kinds, received ? found : null, trueBoxes, size, cut / size.width, !sent, !received);
  }

  #half(context, image, left, width, size) {
    if (width <= 0) return;
    if (image) {
      context.drawImage(image, left, 0, width, size.height, left, 0, width, size.height);
      return;
    }
    context.fillStyle = palette().ground;
    context.fillRect(left, 0, width, size.height);
  }

  #overlay(kinds, found, trueBoxes, size, share, noneSent, noneReceived) {
    const drawn = surface(this.over);
    if (!drawn) return;
    const { context, width, height } = drawn;
    const cut = share * width;
    const on = this.overlays;
    const clipped = (left, right, draw) => {
      context.save();
      context.beginPath();
      context.rect(left, 0, right - left, height);
      context.clip();
      draw();
      context.restore();
    };
    const lay = (kind, alpha) => {
      const image = bitmap(kinds?.[kind], this.redraw);
      if (!image) return;
      context.globalAlpha = alpha;
      context.imageSmoothingEnabled = false;
      context.drawImage(image, 0, 0, width, height);
      context.globalAlpha = 1;
    };
    context.fillStyle = hatch(context, palette().line, 9);
    if (noneSent) context.fillRect(0, 0, cut, height);
    if (noneReceived) context.fillRect(cut, 0, width - cut, height);
    clipped(cut, width, () => {
      if (on.depth) lay("depth", 1);
      if (on.masks) lay("segmentation", 0.6);
      if (on.boxes) this.#boxes(context, Object.values(found ?? {}).flatMap((task) => task.boxes ?? []), width / size.width, height / size.height, [cut, width], true);
    });
    if (on.truth) {
      clipped(0, cut, () => {
        if (on.depth) lay("truth_depth", 1);
        if (on.masks || !(on.depth || on.boxes)) lay("truth_segmentation", 0.6);
        if (on.boxes || !kinds?.truth_segmentation) this.#boxes(context, trueBoxes ?? [], width / size.width, height / size.height, [0, cut], false);
      });
    }
  }

  /** The boxes that can be seen between *from* and *to*; a name goes to the surest of those that would write over each
   * other, or over what else is written there, and stays whole. *scored*: with how sure it is. */
  #boxes(context, found, across, down, [from, to], scored) {
    const boxes = found.filter(([left, , right]) => left * across < to && right * across > from).toSorted((a, b) => b[5] - a[5]);
    const names = [...new Set(boxes.map((box) => box[4]))].sort();
    const colours = [palette().yellow, palette().sky, palette().orange, palette().green, palette().purple];
    for (const [left, top, right, bottom, name] of boxes.toReversed()) {
      const place = [left * across, top * down, (right - left) * across, (bottom - top) * down];
      context.lineWidth = 3.5;
      context.strokeStyle = "#0009";
      context.strokeRect(...place);
      context.lineWidth = 1.75;
      context.strokeStyle = colours[names.indexOf(name) % colours.length];
      context.strokeRect(...place);
    }
    context.font = `600 ${TEXT}px ${palette().font}`;
    const written = [...this.root.querySelectorAll(".tag")].map((tag) => [tag.offsetLeft, tag.offsetTop, tag.offsetLeft + tag.offsetWidth, tag.offsetTop + tag.offsetHeight]);
    for (const [left, top, , , name, score] of boxes) {
      const text = scored ? `${plain(name)} ${Math.round(100 * score)} %` : plain(name);
      const wide = context.measureText(text).width + 12;
      const [x, y] = [Math.max(from, Math.min(left * across - 1, to - wide)), Math.max(0, top * down - TEXT - 7)];
      const label = [x, y, x + wide, y + TEXT + 7];
      if (wide > to - from || written.some((one) => label[0] < one[2] && one[0] < label[2] && label[1] < one[3] && one[1] < label[3])) continue;
      written.push(label);
      context.fillStyle = "#000c";
      context.fillRect(x, y, label[2] - x, label[3] - y);
      context.fillStyle = "#fff";
      context.fillText(text, x + 6, y + (TEXT + 7) / 2);
    }
  }
}
