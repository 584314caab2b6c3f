// Decoded pictures, the last few of them. Each blob is decoded once.

const KEPT = 24;
const decoded = new Map();  // picture -> ImageBitmap, null while it is being decoded, false where it cannot be

/** Return the decoded *picture*, or null for now: *ready* is called when it is there; false where it is damaged. */
export function bitmap(picture, ready) {
  if (!picture) return null;
  if (decoded.has(picture)) {
    const found = decoded.get(picture);
    decoded.delete(picture);
    decoded.set(picture, found);
    return found;
  }
  decoded.set(picture, null);
  createImageBitmap(picture.blob).then((image) => {
    decoded.set(picture, image);
    for (const [old, held] of decoded) {
      if (decoded.size <= KEPT) break;
      if (held) held.close();
      decoded.delete(old);
    }
    ready();
  }, () => {
    decoded.set(picture, false);
    ready();
  });
  return null;
}

/** Show *picture* in *canvas* at its own size. Until it is decoded the last one stays; where there is none, the canvas is
 * cleared: what it showed belongs to another time. */
export function show(canvas, picture, ready) {
  canvas.classList.toggle("empty", !picture);
  if (!picture) {
    if (canvas.shown) Object.assign(canvas, { width: canvas.width, shown: null });  // setting the width clears it
    return;
  }
  const image = bitmap(picture, ready);
  if (!image || canvas.shown === picture) return;
  Object.assign(canvas, { width: image.width, height: image.height, shown: picture });
  canvas.getContext("2d").drawImage(image, 0, 0);
}
