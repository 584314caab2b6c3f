// Small helpers for the document. Text goes in by textContent alone.

export const get = (id) => document.getElementById(id);

/** A new element *tag* with attributes, properties in camel case and children; null and false are left out. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false || value === undefined) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Set *element*'s text where it differs, so that nothing is laid out or read aloud anew for nothing. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** What other people wrote, made safe to be shown in a line: control characters, those of terminals and those that turn
 * the direction of writing are left out. */
export function plain(text) {
  return String(text).replace(/\u001b\[[0-9;?]*[ -/]*[@-~]/g, "").replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g, " ").trim();
}

/** Rebuild *element* only when *key* differs from the last one. */
export function renew(element, key, build) {
  if (element.builtFrom === key) return;
  element.builtFrom = key;
  element.replaceChildren(...build());
}

/** *text* with a capital where it begins with a word in lower case: "bit errors", but not "mIoU". */
export function capital(text) {
  return /^[a-z]+(\s|$)/.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
}
