// The theme: the system's, light or dark, kept for the next visit where the browser allows it.

import { forgetPalette } from "./canvas.js";
import { get } from "./dom.js";

const NEXT = { auto: "light", light: "dark", dark: "auto" };

function stored() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null;  // a window without storage: the switch works all the same
  }
}

function store(theme) {
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // As above.
  }
}

/** Set the theme and wire its switch; *redraw* is called when colours change. */
export function begin(redraw) {
  const root = document.documentElement;
  const button = get("theme");
  const apply = (theme) => {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    button.setAttribute("aria-label", `Theme: ${theme}`);
    button.title = `Theme: ${theme}`;
    forgetPalette();
    redraw();
  };
  button.addEventListener("click", () => {
    const theme = NEXT[root.dataset.theme ?? "auto"];
    store(theme);
    apply(theme);
  });
  apply(NEXT[stored()] ? stored() : "auto");
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    forgetPalette();
    redraw();
  });
}
