// Meter, totals, log, and how far a replay is.

import { get, make, plain, renew, say } from "./dom.js";
import * as format from "./format.js";

export function drawMeter(model) {
  const meter = model.meter;
  const share = meter?.used_share ?? 0;
  get("used").value = Math.min(1, share);
  get("used").style.setProperty("--share", `${100 * Math.min(1, share)}%`);
  say(get("used-fact"), meter ? `${format.percent(Number(share.toPrecision(2)))} of ${format.rate(meter.rate_bps)}` : "no figures yet");
  say(get("photo-fact"), meter?.photo_s ? `A photo of 60 kB would take ${format.lasting(meter.photo_s)}.` : "");
  const totals = model.totals ?? {};
  const rows = [["sent", "frames sent"], ["complete", "complete"], ["partial", "partial"], ["lost", "lost"], ["superseded", "passed over"], ["skipped", "left out"], ["packets_sent", "packets"], ["packets_lost", "packets lost"]]
    .filter(([name]) => totals[name] !== undefined).map(([name, words]) => [words, String(totals[name])]);
  if (totals.on_air_bytes !== undefined) rows.push(["on the air", format.bytes(totals.on_air_bytes)]);
  renew(get("totals"), JSON.stringify(rows), () => rows.map(([words, value]) => make("div", {}, make("dt", { text: words }), make("dd", { text: value }))));
}

export function drawLog(model) {
  const lines = [];  // [line, how many times in a row]
  for (const line of model.log) {
    if (lines.at(-1)?.[0] === line) lines.at(-1)[1] += 1;
    else lines.push([line, 1]);
  }
  const shown = lines.slice(-40);
  renew(get("log"), JSON.stringify(shown), () => shown.map(([line, times]) => make("li", { text: plain(line) + (times > 1 ? ` (${times} times)` : "") })).reverse());
  get("log-panel").hidden = !lines.length;
}

export function drawNotice(model, seeking) {
  const early = model.clock?.lost;
  get("early").hidden = !early;
  say(get("early"), early ? `The run ended early: ${plain(early)}` : "");
  const range = get("seek");
  if (model.session.mode !== "replay") return;
  const whole = model.session.duration_ns || 1;
  if (!seeking) range.value = Math.floor(model.clock.run_ns / format.SECOND);
  const at = `${format.clock(seeking ? range.value * format.SECOND : model.clock.run_ns)} of ${format.clock(whole)}`;
  range.setAttribute("aria-valuetext", at);
  say(get("seek-fact"), at);
}
