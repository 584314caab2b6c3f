// The websocket: messages in, commands out, and another try within 3 s when it breaks.
// A message is `u32 little-endian length | JSON | blobs`; the JSON's `blobs` has the length of each blob.

const ECHO_MS = 8000;
const RETRIES_MS = [250, 500, 1000, 1500, 2000];
const PATIENCE = 4;
const QUIET_MS = 3000;

/** Return [message, blobs] of a binary message; raise RangeError for one that ends early. */
export function decode(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const message = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const blobs = [];
  let at = 4 + length;
  for (const size of message.blobs ?? []) {
    blobs.push(new Uint8Array(buffer, at, size));
    at += size;
  }
  return [message, blobs];
}

export class Wire {
  /** *handlers*: `message(message, blobs)` for states and ticks, `status(word, text)` for how the connection is. */
  constructor(url, handlers) {
    this.url = url;
    this.handlers = handlers;
    this.asked = new Map();
    this.next = 1;
    this.tries = 0;
    this.heard = performance.now();
    this.still = false;  // nothing is expected: paused or ended
    this.word = "connecting";
    this.ended = null;
    setInterval(() => this.#watch(), 500);
    this.#open();
  }

  #say(word, text) {
    this.word = word;
    this.handlers.status(word, text);
  }

  #open() {
    const socket = new WebSocket(this.url);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => this.#take(event.data);
    socket.onclose = () => {
      if (this.socket !== socket) return;
      for (const settle of this.asked.values()) settle("the connection was lost");
      this.asked.clear();
      const wait = RETRIES_MS[Math.min(this.tries++, RETRIES_MS.length - 1)];
      const why = this.ended ?? "connection lost";
      const hint = this.tries > PATIENCE ? ". If farlink was started anew, open the link that it printed" : "";
      this.#say("lost", `${why}; trying again${hint}`);
      setTimeout(() => this.#open(), wait);
    };
  }

  #take(data) {
    this.heard = performance.now();
    const [message, blobs] = decode(data);
    if (message.type === "echo") {
      this.asked.get(message.id)?.(message.refused ?? null);
      this.asked.delete(message.id);
      return;
    }
    if (message.type === "bye") {
      this.ended = String(message.reason);
      this.#say("lost", this.ended);
      return;
    }
    if (message.type === "state") {
      this.tries = 0;
      this.ended = null;
    }
    if (this.word !== "open") this.#say("open", "");
    try {
      this.handlers.message(message, blobs);
    } finally {
      this.#post({ do: "ack", seq: message.seq });  // without it the server would fall silent for good
    }
  }

  #watch() {
    if (this.word !== "open" || this.still) return;
    const quiet = performance.now() - this.heard;
    if (quiet > QUIET_MS) this.handlers.status("quiet", `no news for ${Math.floor(quiet / 1000)} s`);
  }

  #post(command) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(command));
    return true;
  }

  /** Send *command* and return a promise of null, or of the reason why it was refused. */
  ask(command) {
    const id = this.next++;
    return new Promise((settle) => {
      if (!this.#post({ ...command, id })) {
        settle("there is no connection");
        return;
      }
      this.asked.set(id, settle);
      setTimeout(() => {
        if (this.asked.delete(id)) settle("no answer came");
      }, ECHO_MS);
    });
  }

  /** Send the bytes of a picture; return false where there is no connection, or what was sent is still on its way. */
  show(bytes) {
    if (this.socket.readyState !== WebSocket.OPEN || this.socket.bufferedAmount > 0) return false;
    this.socket.send(bytes);
    return true;
  }

  /** Ask for the lossless picture *id*, which comes in a message of its own. */
  fetch(id) {
    this.#post({ do: "fetch", id });
  }
}
