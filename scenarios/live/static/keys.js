// Keys: space pause, . step, n next picture, l live, 1-4 overlays, m mark, ? help.

import { get } from "./dom.js";

const TYPING = "input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, select";

/** Call *acts[key]* when its key is pressed and nothing that has the focus wants it. */
export function listen(acts) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches(TYPING)) return;
    const press = event.key === " " && event.target.matches("button, summary, a, input[type=checkbox], input[type=radio]");
    const act = press ? null : acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  get("help").addEventListener("click", acts["?"]);
}
