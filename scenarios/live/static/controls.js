// Controls of link, sender and drawing. A control shows what the server says; what a hand moves is a draft until the
// server has answered it.

import * as format from "./format.js";
import { capital, get, make, plain, renew, say } from "./dom.js";
import { noticedAfter } from "./state.js";
import { nodes } from "./strip.js";

const EVERY_MS = 120;
const SETTLE_MS = 1000;
const GROUPS = [["link", "Link"], ["sender", "Sender"], ["drawing", "Drawing"]];

/** Positions of a range: a whole number for each value that it can have. */
export class Scale {
  constructor({ min, max, scale, step }) {
    Object.assign(this, { min, max, step, log: scale === "log" });
    // A logarithmic scale from 0 begins six decades below its end, with 0 itself one position before.
    this.low = this.log && min <= 0 ? max / 1e6 : min;
    this.zero = this.log && min <= 0 ? 1 : 0;
    const steps = step ? Math.round((max - min) / step) : Infinity;
    this.count = this.log ? 120 + this.zero : Math.min(steps, 200);
  }

  position(value) {
    if (value === null || value === undefined) return this.count;
    if (!this.log) return Math.round((this.count * (value - this.min)) / (this.max - this.min));
    if (value < this.low) return 0;
    return this.zero + Math.round(((this.count - this.zero) * Math.log(value / this.low)) / Math.log(this.max / this.low));
  }

  value(position) {
    if (position <= 0) return this.min;
    if (position >= this.count) return this.max;
    const share = (position - this.zero) / (this.count - this.zero);
    const raw = this.log ? this.low * (this.max / this.low) ** share : this.min + share * (this.max - this.min);
    const whole = this.step ? this.min + Math.round((raw - this.min) / this.step) * this.step : raw;
    return Math.min(this.max, Math.max(this.min, Number(whole.toPrecision(this.log ? 2 : 6))));
  }
}

export class Controls {
  /** *ask(command)* sends a command and promises null or why it was refused. */
  constructor(ask) {
    this.root = get("controls");
    this.ask = ask;
    this.parts = [];
    this.hop = 0;
  }

  /** Lay the controls out as a new state has them; those that are as before stay, with the focus. */
  build(model) {
    this.model = model;
    const session = model.session;
    const stated = (session.controls ?? []).map((control) => ({ ...control, value: null }));
    renew(this.root, JSON.stringify([stated, session.hops.map((hop) => hop.name)]), () => {
      this.parts = (session.controls ?? []).map((control, at) => new Part(control, at, this));
      return GROUPS.map(([group, title]) => this.#group(group, title)).filter(Boolean);
    });
    for (const part of this.parts) part.drop();
    this.#pick(this.hop);
  }

  #group(group, title) {
    const parts = this.parts.filter((part) => part.control.group === group);
    if (!parts.length) return null;
    const hops = [...new Set(parts.map((part) => part.control.hop).filter((hop) => hop !== null && hop !== undefined))];
    const picker = group === "link" && hops.length > 1 ? this.#picker(hops) : null;
    return make("section", { class: "group", "aria-label": title }, make("h3", { text: title }), picker, ...parts.map((part) => part.root));
  }

  #picker(hops) {
    if (!hops.includes(this.hop)) this.hop = hops[0];
    const names = nodes(this.model.session);
    const called = (hop) => (hop < 0 ? "Return" : `${names[hop]} → ${names[hop + 1]}`);
    return make("div", { class: "picker", role: "radiogroup", "aria-label": "Hop" }, ...hops.map((hop) => make("label", {},
      make("input", { type: "radio", name: "hop", value: hop, checked: hop === this.hop, onchange: () => this.#pick(hop) }),
      make("span", { text: called(hop) }))));
  }

  #pick(hop) {
    this.hop = hop;
    for (const part of this.parts) {
      const own = part.control.hop;
      part.root.hidden = part.control.group === "link" && own !== null && own !== undefined && own !== hop && Boolean(this.root.querySelector(".picker"));
    }
  }

  /** Show the server's values; *able* says whether this viewer may change them. */
  draw(model, now, able) {
    this.model = model;
    for (const part of this.parts) part.draw(model, now, able);
  }
}

class Part {
  constructor(control, at, owner) {
    Object.assign(this, { control, owner, draft: undefined, sent: 0, refused: null, seenAt: null, timer: null });
    const id = `control-${at}`;
    this.scale = control.kind === "range" ? new Scale(control) : null;
    this.input = this.#input(id);
    this.input.addEventListener("input", () => this.#move(false));
    this.input.addEventListener("change", () => this.#move(true));
    this.output = make("output", { for: id });
    this.hint = make("p", { class: "hint", id: `${id}-hint` });
    this.root = make("div", { class: `control ${control.kind}`, "data-path": control.path },
      make("label", { for: id, text: capital(plain(control.label)) }), this.output, this.input, this.hint);
  }

  #input(id) {
    const { kind, choices } = this.control;
    const common = { id, "aria-describedby": `${id}-hint` };
    if (kind === "switch") return make("input", { ...common, type: "checkbox", role: "switch" });
    if (kind === "choice") return make("select", common, ...(choices ?? []).map(([, label], at) => make("option", { value: at, text: label })));
    return make("input", { ...common, type: "range", min: 0, max: this.scale.count, step: 1 });
  }

  #read() {
    if (this.control.kind === "switch") return this.input.checked;
    if (this.control.kind === "choice") return this.control.choices[Number(this.input.value)][0];
    return this.scale.value(Number(this.input.value));
  }

  #write(value) {
    if (this.control.kind === "switch") this.input.checked = Boolean(value);
    else if (this.control.kind === "choice") this.input.value = String(this.control.choices.findIndex(([one]) => one === value));
    else {
      this.input.value = String(this.scale.position(value));
      this.input.setAttribute("aria-valuetext", format.setting(this.control, value));
      this.input.style.setProperty("--share", `${(100 * Number(this.input.value)) / this.scale.count}%`);
    }
    say(this.output, this.control.kind === "choice" ? "" : format.setting(this.control, value));
  }

  /** A hand moved it: what is dragged goes out a few times a second, the last one always. */
  #move(last) {
    this.draft = this.#read();
    this.refused = null;
    this.#write(this.draft);
    clearTimeout(this.timer);
    const wait = last ? 0 : Math.max(0, EVERY_MS - (performance.now() - this.sent));
    if (wait) this.timer = setTimeout(() => this.#send(), wait);
    else this.#send();
  }

  async #send() {
    const value = this.draft;
    if (value === undefined || value === this.asking) return;
    this.asking = value;
    this.sent = performance.now();
    const refused = await this.owner.ask({ do: "change", paths: { [this.control.path]: value } });
    if (this.asking === value) this.asking = undefined;
    if (this.draft !== value) return;  // moved on meanwhile: its own answer is to come
    if (refused) {
      this.refused = plain(refused);
      say(get("alarm"), `${plain(this.control.label)} refused: ${this.refused}`);
      this.draft = undefined;
    } else {
      const model = this.owner.model;
      this.seenAt = (model.clock?.run_ns ?? 0) + 1e9 * noticedAfter(model, this.control);
      setTimeout(() => {
        if (this.draft === value) this.draft = undefined;  // its value comes with a tick, which may follow the echo
      }, SETTLE_MS);
    }
    this.draw(this.owner.model, this.owner.model.clock?.run_ns ?? 0, !this.input.disabled);
  }

  /** Forget what a hand began: the state is new. */
  drop() {
    clearTimeout(this.timer);
    Object.assign(this, { draft: undefined, asking: undefined, refused: null, seenAt: null });
  }

  draw(model, now, able) {
    const stated = model.values[this.control.path];
    if (this.draft !== undefined && stated === this.draft && this.asking === undefined) this.draft = undefined;
    this.#write(this.draft === undefined ? stated : this.draft);
    if (this.input.disabled === able) this.input.disabled = !able;
    const far = nodes(model.session).at(-1);
    const left = this.seenAt === null ? 0 : (this.seenAt - now) / 1e9;
    if (left <= 0) this.seenAt = null;
    const seen = this.control.hop === -1 ? nodes(model.session)[0] : far;
    const words = this.refused ? `Refused: ${this.refused}` : left > 0.05 ? `${seen} sees it in ${format.lasting(left)}` : plain(this.control.note ?? "");
    say(this.hint, words);
    this.root.classList.toggle("refused", Boolean(this.refused));
  }
}
