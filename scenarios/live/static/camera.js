// The viewer's own camera as the session's source: asked for by a click, sent as JPEG files, ten a second.

import { get, say } from "./dom.js";

const EVERY_MS = 100;
const MOST_WIDE = 640;
const MOST_BYTES = 250_000;
const QUALITY = 0.85;

export class OwnCamera {
  /** *send(bytes)* hands a picture on; it returns false where the last ones are still on their way. */
  constructor(send) {
    this.send = send;
    this.stream = null;
    this.timer = 0;
    this.busy = false;
    this.sent = 0;
    this.video = document.createElement("video");
    this.video.muted = true;
    this.video.playsInline = true;
    this.canvas = document.createElement("canvas");
    get("camera").addEventListener("click", () => (this.stream ? this.#stop("") : this.#start()));
  }

  /** Offer it where *offered*; else switch it off. */
  offer(offered) {
    get("camera-bar").hidden = !offered;
    if (!offered && this.stream) this.#stop("");
  }

  async #start() {
    if (!navigator.mediaDevices) {
      this.#say("A browser gives its camera to pages of this machine and to pages over TLS alone.");
      return;
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: MOST_WIDE }, height: { ideal: 480 } }, audio: false });
      this.stream.getVideoTracks()[0].addEventListener("ended", () => this.#stop("The camera was taken away."));
      this.video.srcObject = this.stream;
      await this.video.play();
    } catch (error) {
      this.#stop(`No camera: ${error.message || error.name}`);
      return;
    }
    this.timer = setInterval(() => this.#shoot(), EVERY_MS);
    this.#say("Your camera is the source of this session.");
    say(get("camera"), "Stop my camera");
  }

  #stop(why) {
    clearInterval(this.timer);
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.video.srcObject = null;
    this.#say(why || "This session shows a viewer's camera.");
    say(get("camera"), "Use my camera");
  }

  #say(text) {
    say(get("camera-state"), text);
  }

  #shoot() {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (this.busy || !width) return;
    const scale = Math.min(1, MOST_WIDE / width);
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.canvas.getContext("2d").drawImage(this.video, 0, 0, this.canvas.width, this.canvas.height);
    this.busy = true;
    this.canvas.toBlob(async (made) => {
      try {
        if (made && made.size <= MOST_BYTES && this.stream && this.send(await made.arrayBuffer())) this.sent += 1;
      } finally {
        this.busy = false;
      }
    }, "image/jpeg", QUALITY);
  }
}
