// What the page knows: a `state` begins it anew, each `tick` adds to it. Nothing here touches the document.

const RING = 300;
const PICTURE_BYTES = 24e6;
const PACKETS = 4000;
const POINTS = 1500;
const LINES = 200;
const MARKS = 100;

const STATED = [
  "mode", "camera", "may_steer", "title", "codec", "source", "tasks", "size", "hops", "back", "mtu_bytes", "controls", "stories",
  "presets", "codecs", "sources", "channels", "tiles", "duration_ns",
];

// Kinds of pictures that lie over the others, by the overlay that they belong to.
const OVERLAYS = { segmentation: "masks", depth: "depth", truth_segmentation: "truth", truth_depth: "truth" };

const ENDS = new Set([
  "delivered", "queue_full", "channel_loss", "outage", "bad_checksum", "malformed", "duplicate", "deadline",
  "version", "peer_slow", "in_flight", "out_of_order", "expired", "store_full", "no_route", "collision",
  "no_answer", "cancelled",
]);

/** Return the page's knowledge as a `state` message has it; *now* is the page's clock in ms. */
export function begin(message, blobs, now) {
  const session = Object.fromEntries(STATED.filter((name) => name in message).map((name) => [name, message[name]]));
  const model = {
    session, clock: null, heard: now, packets: new Map(), frames: new Map(), pictures: new Map(),
    rival: null, rivalPicture: null, queues: [], flying: 0, curves: {}, marks: [], values: {}, totals: {}, meter: null,
    log: [], story: null, ends: {}, leftOut: 0, overlays: new Set(),
    pictureBytes: 0,
  };
  for (const control of message.controls ?? []) model.values[control.path] = control.value;
  return add(model, message, blobs, now);
}

/** Lay a tick over *model* and return it. */
export function add(model, tick, blobs, now) {
  if (tick.clock) {
    model.clock = tick.clock;
    model.heard = now;
  }
  for (const one of tick.packets ?? []) addPacket(model, one);
  for (const row of tick.rows ?? []) addRow(model, row);
  trim(model.packets, PACKETS);
  for (const frame of tick.frames ?? []) {
    model.frames.set(frame.frame, frame);
    if (Object.values(frame.found ?? {}).some((one) => one.boxes)) model.overlays.add("boxes");
    if (frame.true_boxes) model.overlays.add("truth");
  }
  for (const one of tick.pictures ?? []) addPicture(model, one, blobs);
  forget(model);
  addCurves(model, tick);
  Object.assign(model.values, tick.values ?? {});
  for (const name of ["queues", "flying", "rival", "totals", "meter", "story", "ends"]) {
    if (tick[name] !== undefined) model[name] = tick[name];
  }
  model.leftOut += tick.rows_left_out ?? 0;
  model.log = model.log.concat(tick.log ?? []).slice(-LINES);
  return model;
}

function addPacket(model, [number, frame, kind, section, bytes, direction, sent]) {
  if (model.packets.has(number)) return;
  const back = direction === 1;
  model.packets.set(number, { number, frame, kind, section, bytes, back, sent, legs: [], fate: null, end: null, hop: back ? -1 : 0 });
}

function addRow(model, [time, number, fate, hop, waited, transmitted]) {
  const packet = model.packets.get(number);
  if (!packet || packet.fate) return;
  const crossed = fate === "crossed";
  if (crossed || (ENDS.has(fate) && (waited || transmitted))) {
    const enter = packet.legs.length ? packet.legs.at(-1).leave : packet.sent;
    packet.legs.push({ hop, enter, air: enter + waited, fly: enter + waited + transmitted, leave: time });
  }
  if (crossed) packet.hop = hop + 1;
  if (ENDS.has(fate)) Object.assign(packet, { fate, end: time, hop });
}

function addPicture(model, one, blobs) {
  const data = blobs[one.blob];
  if (!data) return;
  const picture = { id: one.id, frame: one.frame, kind: one.kind, lossless: one.lossless, columns: one.columns, blob: new Blob([data], { type: one.mime }) };
  if (one.kind === "rival") {
    model.rivalPicture = picture;
    return;
  }
  if (OVERLAYS[one.kind]) model.overlays.add(OVERLAYS[one.kind]);
  const kinds = model.pictures.get(one.frame) ?? {};
  model.pictureBytes += picture.blob.size - (kinds[one.kind]?.blob.size ?? 0);
  kinds[one.kind] = picture;
  model.pictures.delete(one.frame);
  model.pictures.set(one.frame, kinds);  // at the end: the frames that got one last are kept longest
}

function addCurves(model, tick) {
  for (const [name, curve] of Object.entries(tick.curves ?? {})) {
    const known = (model.curves[name] ??= { label: curve.label, unit: curve.unit, points: [] });
    const last = known.points.at(-1)?.[0] ?? -Infinity;
    known.points.push(...curve.points.filter(([t]) => t > last));
    trim(known.points, POINTS);
  }
  model.marks.push(...(tick.marks ?? []));
  trim(model.marks, MARKS);
}

function trim(held, most) {
  if (Array.isArray(held)) held.splice(0, Math.max(0, held.length - most));
  else for (const key of held.keys()) {
    if (held.size <= most) break;
    held.delete(key);
  }
}

/** Hold to the ring, and to so many bytes of pictures: older ones can be asked for again. */
function forget(model) {
  const excess = Math.max(0, model.frames.size - RING);
  for (const frame of [...model.frames.keys()].sort((a, b) => a - b).slice(0, excess)) {
    model.frames.delete(frame);
    forgetPictures(model, frame);
  }
  for (const frame of model.pictures.keys()) {
    if (model.pictureBytes <= PICTURE_BYTES || model.pictures.size <= 2) break;
    forgetPictures(model, frame);
  }
}

function forgetPictures(model, frame) {
  for (const picture of Object.values(model.pictures.get(frame) ?? {})) model.pictureBytes -= picture.blob.size;
  model.pictures.delete(frame);
}

/** Run time now, in ns: the link's clock, carried on for at most 400 ms of silence. */
export function runTime(model, now) {
  const clock = model.clock;
  if (!clock) return 0;
  if (clock.paused || clock.done || clock.jumping) return clock.run_ns;
  return clock.run_ns + Math.min(Math.max(0, now - model.heard), 400) * 1e6 * clock.factor;
}

/** The newest frame that has a picture of *kind*, or null. */
export function newest(model, kind) {
  let best = null;
  for (const [frame, kinds] of model.pictures) if (kinds[kind] && (best === null || frame > best)) best = frame;
  return best;
}

/** Frames in order, oldest first. */
export function frames(model) {
  return [...model.frames.values()].sort((a, b) => a.frame - b.frame);
}

/** The link's setting whose path ends in *ending* for *hop*, as the server last said it. */
export function ofHop(model, hop, ending) {
  const stated = hop === -1 ? model.session.back : model.session.hops[hop];
  return model.values[hop === -1 ? `link.return.${ending}` : `link.hops.${hop}.${ending}`] ?? stated?.[ending];
}

/** Seconds until the far end sees what changes at *control* now; 0 where it is the far end's own. */
export function noticedAfter(model, control) {
  if (control.group === "drawing") return 0;
  if (control.hop === -1) return ofHop(model, -1, "delay_s") ?? 0;
  return model.session.hops.slice(control.hop ?? 0).reduce((sum, _, at) => sum + (ofHop(model, (control.hop ?? 0) + at, "delay_s") ?? 0), 0);
}

/** What is wrong with showing *frame* as the present: lost frames after it, or that nothing came for long. */
export function staleness(model, frame, now) {
  const later = frames(model).filter((one) => one.frame > frame.frame);
  const lost = later.filter((one) => one.status === "lost").map((one) => one.frame);
  const drawn = frames(model).map((one) => one.drawn_ns).filter((at) => at !== null && at !== undefined).sort((a, b) => a - b).slice(-12);
  const gaps = drawn.slice(1).map((at, index) => at - drawn[index]).sort((a, b) => a - b);
  const usual = gaps.length >= 2 ? gaps[Math.floor(gaps.length / 2)] : Infinity;
  return { lost, late: frame.drawn_ns !== null && now - frame.drawn_ns > 2.5 * usual + 1e9 };
}
