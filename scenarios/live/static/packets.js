// Packets: what became of them, where they are, and how they are told apart.

import { palette } from "./canvas.js";
import { ofHop } from "./state.js";

/** What a fate is called on the page. */
export const REASONS = {
  queue_full: "queue full", channel_loss: "lost on the way", outage: "outage",
  bad_checksum: "bits flipped", malformed: "malformed", duplicate: "came twice", deadline: "too late",
  version: "other version", peer_slow: "receiver busy", in_flight: "run ended", out_of_order: "out of order",
  expired: "too old to be kept", store_full: "store full", no_route: "no way on", collision: "met another",
  no_answer: "no answer came", cancelled: "session given up",
};

/** Whether *packet* goes back, or is a hop's own report. */
export function answers(packet) {
  return packet.back || packet.kind === "feedback" || packet.kind === "report";
}

/** The colour of *packet* by its kind; its shape or its label says the same. */
export function toneOf(packet) {
  const colour = palette();
  if (answers(packet)) return colour.purple;
  return packet.kind === "fec" ? colour.green : colour.blue;
}

/** Packets still on their way, with the leg that each is on. A leg that has not ended is reckoned from the hop's
 * rate and delay, behind whatever the hop served before. */
export function underWay(model, now) {
  const free = new Map();
  const found = [];
  for (const packet of model.packets.values()) {
    for (const leg of packet.legs) free.set(leg.hop, Math.max(free.get(leg.hop) ?? 0, leg.fly));
    if (packet.fate || (packet.back ? packet.legs.length > 0 : packet.hop >= model.session.hops.length)) continue;
    const hop = packet.back ? -1 : packet.hop;
    const enter = packet.legs.at(-1)?.leave ?? packet.sent;
    const rate = ofHop(model, hop, "rate_bps");
    const air = Math.max(enter, free.get(hop) ?? 0);
    const fly = air + (rate ? (packet.bytes * 8e9) / rate : 0);
    free.set(hop, fly);
    const leave = fly + (ofHop(model, hop, "delay_s") ?? 0) * 1e9;
    found.push({ packet, leg: { hop, enter, air, fly, leave: Math.max(leave, fly + 1), open: now < leave } });
  }
  return found;
}
