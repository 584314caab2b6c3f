"""A synthetic session for tests of the live page: pictures, packets over two hops with losses, and what follows."""

import heapq
from typing import Any

import numpy as np
from fakepictures import SIZE, file

SECOND = 1_000_000_000
CAPTION = "a rocky plain with low dunes under a dusty sky, scattered dark stones in front"


def controls() -> list[dict[str, Any]]:
    def one(
        path: str, group: str, hop: int | None, label: str, kind: str, unit: str, value: Any, **more: Any
    ) -> dict[str, Any]:
        plain = {"min": None, "max": None, "scale": "linear", "step": None, "choices": None, "note": ""}
        return {
            "path": path,
            "group": group,
            "hop": hop,
            "label": label,
            "kind": kind,
            "unit": unit,
            "value": value,
            **plain,
            **more,
        }

    found = []
    for hop, rate, delay in ((0, 2000, 0.02), (1, 500, 10.0)):
        at = f"link.hops.{hop}"
        found += [
            one(f"{at}.rate_bps", "link", hop, "Rate", "range", "bit/s", rate, min=50, max=1e6, scale="log"),
            one(f"{at}.delay_s", "link", hop, "Delay", "range", "s", delay, min=0, max=1000, scale="log"),
            one(f"{at}.loss.loss", "link", hop, "Loss", "range", "%", 0.05, min=0, max=1, step=0.01),
            one(f"{at}.loss.mean_burst", "link", hop, "Mean burst", "range", "", 4, min=1, max=50, step=1),
            one(f"{at}.bit_error", "link", hop, "Bit errors", "range", "", 0, min=0, max=0.01, scale="log"),
            one(f"{at}.outage", "link", hop, "Outage", "switch", "", False),
        ]
    back = [
        one("link.return.rate_bps", "link", -1, "Rate", "range", "bit/s", 16, min=8, max=1e4, scale="log")
    ]
    sender = [
        one("codec.channels", "sender", None, "Channels", "range", "", 8, min=1, max=32, step=1),
        one("codec.caption_words", "sender", None, "Caption words", "range", "", 24, min=0, max=40, step=1),
        one("camera.period_s", "sender", None, "Period", "range", "s", 4, min=1, max=60, step=1),
        one("repair.fec", "sender", None, "FEC", "range", "%", 0.2, min=0, max=2, step=0.1),
        one("codec.rate_control", "sender", None, "Rate control", "switch", "", False),
    ]
    drawing = [
        one(
            "receiver.steps",
            "drawing",
            None,
            "Steps",
            "choice",
            "",
            8,
            choices=[[n, str(n)] for n in (1, 2, 4, 8, 16)],
        ),
        one("receiver.strength", "drawing", None, "Strength", "range", "", 0.6, min=0, max=1, step=0.05),
        one(
            "keep_up",
            "drawing",
            None,
            "Keep up",
            "switch",
            "",
            True,
            note="Fewer steps while drawing takes too long",
        ),
    ]
    return found + back + sender + drawing


class Session:
    """A synthetic run over two hops; pictures every 4 s of run time. `tick()` moves it on."""

    def __init__(
        self,
        *,
        factor: float = 4.0,
        caption: str = CAPTION,
        lose_after: int | None = None,
        mode: str = "live",
        lossy: bool = False,
    ) -> None:
        self.now = 0
        self.factor, self.caption, self.lose_after, self.mode, self.lossy = (
            factor,
            caption,
            lose_after,
            mode,
            lossy,
        )
        self.paused = False
        self.jump: str | None = None
        self.stated = controls()
        self.values = {one["path"]: one["value"] for one in self.stated}
        self._heap: list[tuple[int, int, dict[str, Any]]] = []
        self._order = 0
        self._packet = 0
        self._free = [0, 0]
        self._draw = np.random.default_rng(5)
        self.frames: dict[int, dict[str, Any]] = {}
        self.kept: dict[str, list[Any]] = {"packets": [], "rows": [], "marks": [], "log": []}
        self.curves: dict[str, dict[str, Any]] = {}
        self.newest: dict[str, int] = {}
        self.story: dict[str, Any] | None = None
        self.rival: dict[str, Any] | None = None
        self._frame = 0
        self._at(0, {"capture": 0})

    def _at(self, time_ns: int, what: dict[str, Any]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (time_ns, self._order, what))

    def tick(self, wall_s: float) -> tuple[dict[str, Any], list[bytes]]:
        """Return the news of the next *wall_s* seconds as the keys of a tick, and its blobs."""
        until = self.now if self.paused and not self.jump else self.now + int(wall_s * self.factor * SECOND)
        news: dict[str, Any] = {
            "packets": [],
            "rows": [],
            "frames": [],
            "pictures": [],
            "marks": [],
            "log": [],
            "curves": {},
            "values": {},
        }
        blobs: list[bytes] = []
        touched: set[int] = set()
        while self._heap and (self._heap[0][0] <= until or self.jump):
            time_ns, _, what = heapq.heappop(self._heap)
            self.now = max(self.now, time_ns)
            self._happen(what, news, blobs, touched)
            if self.jump == "event" or (self.jump == "picture" and "drawn" in what):
                self.jump = None
                until = self.now
        self.now = max(self.now, until)
        news["frames"] = [self.frames[one] for one in sorted(touched)]
        self._figures(news)
        return {**news, **self.summary()}, blobs

    def summary(self) -> dict[str, Any]:
        frames = list(self.frames.values())
        count = {
            name: sum(one["status"] == name for one in frames) for name in ("complete", "partial", "lost")
        }
        lost = sum(row[2] == "channel_loss" for row in self.kept["rows"])
        closed = {row[1] for row in self.kept["rows"] if row[2] in ("delivered", "channel_loss")}
        flying = sum(one[0] not in closed for one in self.kept["packets"])
        clock = {
            "run_ns": self.now,
            "factor": self.factor,
            "paused": self.paused,
            "jumping": self.jump,
            "wall_s": 12.0,
            "limit_factor": 170,
            "draw_s": 0.36,
            "done": False,
            "lost": None,
        }
        return {
            "clock": clock,
            "queues": [0, 2],
            "flying": flying,
            "rival": self.rival,
            "story": self.story,
            "totals": {
                "sent": len(frames),
                **count,
                "superseded": 0,
                "skipped": 0,
                "on_air_bytes": 187 * len(frames),
                "packets_sent": self._packet,
                "packets_lost": lost,
            },
            "meter": {"used_share": 0.41, "bit_rate": 205, "rate_bps": 500, "photo_s": 960},
        }

    def _happen(
        self, what: dict[str, Any], news: dict[str, Any], blobs: list[bytes], touched: set[int]
    ) -> None:
        if "capture" in what:
            self._capture(what["capture"], news, blobs)
            touched.add(what["capture"])
        elif "packet" in what:
            news["packets"].append(what["packet"])
            self.kept["packets"].append(what["packet"])
        elif "row" in what:
            news["rows"].append(what["row"])
            self.kept["rows"].append(what["row"])
        elif "close" in what:
            self._close(what, touched)
        elif "drawn" in what:
            self._drawn(what["drawn"], news, blobs)
            touched.add(what["drawn"])

    def describe(self, kind: str, frame: int, blobs: list[bytes], *, lossless: bool) -> dict[str, Any]:
        """Add a picture to *blobs* and return what a message says of it."""
        mime, data = file(kind, frame, lossless)
        blobs.append(data)
        about = {
            "id": f"{kind}-{frame}",
            "frame": frame,
            "kind": kind,
            "mime": mime,
            "blob": len(blobs) - 1,
            "lossless": lossless,
        }
        return {**about, **({"columns": 8} if kind == "tiles" else {})}

    def _picture(self, frame: int, kind: str, news: dict[str, Any], blobs: list[bytes]) -> None:
        self.newest[kind] = frame
        lossless = not (self.lossy and kind in ("sent", "received"))
        news["pictures"].append(self.describe(kind, frame, blobs, lossless=lossless))

    def _capture(self, frame: int, news: dict[str, Any], blobs: list[bytes]) -> None:
        self._picture(frame, "sent", news, blobs)
        period = int(self.values["camera.period_s"] * SECOND)
        self._at(self.now + period, {"capture": frame + 1})
        channels = sorted(self._draw.choice(32, int(self.values["codec.channels"]), replace=False).tolist())
        loss = max(self.values["link.hops.0.loss.loss"], self.values["link.hops.1.loss.loss"])
        gone = self.lose_after is not None and frame > self.lose_after
        sections = [("caption", 41)] + [("channels", 9)] * len(channels) + [("", 22)] * 2
        fate: list[bool] = []
        last = self.now
        for at, (kind, size) in enumerate(sections):
            lost = gone or bool(self._draw.random() < loss)
            fate.append(not lost)
            last = max(last, self._send(frame, "fec" if at > len(channels) else "data", kind, size + 3, lost))
        arrived = dict(zip(channels, fate[1:]))
        self.frames[frame] = {
            "frame": frame,
            "name": f"shot-{frame:04}",
            "captured_ns": self.now,
            "status": "sent",
            "closed_ns": None,
            "drawn_ns": None,
            "sections": None,
            "on_air": 41 + 9 * len(channels) + 44 + 3 * len(sections),
            "bytes": {
                "caption": 41,
                "channels": 9 * len(channels),
                "header": 3 * len(sections),
                "fec": 44,
                "repair": 6 if loss else 0,
                "feedback": 8,
            },
            "caption": self.caption,
            "caption_arrived": None,
            "channels": [{"channel": one, "bytes": 9, "arrived": None} for one in channels],
            "scores": {},
            "found": {},
        }
        self._at(
            last,
            {"close": frame, "fate": fate, "arrived": arrived, "lost": not any(fate[: len(channels) + 1])},
        )

    def _send(self, frame: int, kind: str, section: str, size: int, lost: bool) -> int:
        number, self._packet = self._packet, self._packet + 1
        self._at(self.now, {"packet": [number, frame, kind, section, size, 0, self.now]})
        self._at(self.now, {"row": [self.now, number, "sent", 0, 0, 0]})
        at = self.now
        for hop in (0, 1):
            start = max(at, self._free[hop])
            air = int(size * 8 * SECOND / self.values[f"link.hops.{hop}.rate_bps"])
            self._free[hop] = start + air
            if lost and hop == 1:
                self._at(start + air, {"row": [start + air, number, "channel_loss", hop, start - at, air]})
                return start + air + int(self.values["link.hops.1.delay_s"] * SECOND)
            leave = start + air + int(self.values[f"link.hops.{hop}.delay_s"] * SECOND)
            self._at(leave, {"row": [leave, number, "crossed", hop, start - at, air]})
            at = leave
        self._at(at, {"row": [at, number, "delivered", 0, 0, 0]})
        return at

    def _close(self, what: dict[str, Any], touched: set[int]) -> None:
        frame = what["close"]
        state = self.frames[frame]
        touched.add(frame)
        whole = all(what["fate"])
        state.update(
            status="lost" if what["lost"] else "complete" if whole else "partial",
            closed_ns=self.now,
            sections=what["fate"],
            caption_arrived=what["fate"][0],
            channels=[{**one, "arrived": what["arrived"][one["channel"]]} for one in state["channels"]],
        )
        if not what["lost"]:
            self._at(self.now + int(0.36 * SECOND), {"drawn": frame})

    def _drawn(self, frame: int, news: dict[str, Any], blobs: list[bytes]) -> None:
        state = self.frames[frame]
        state.update(
            drawn_ns=self.now,
            scores={"psnr_db": 21.3 + (frame % 5) / 4, "ms_ssim": 0.71, "miou": 0.62},
            found={
                "detection": {
                    "model": "toy",
                    "words": None,
                    "boxes": [[40, 130, 92, 170, "rock", 0.83], [150, 120, 214, 178, "rock", 0.41]],
                    "left_out": 9,
                },
                "classification": {"model": "toy", "words": ["desert 0.81", "dune 0.11"], "boxes": None},
            },
            true_boxes=[[44, 132, 90, 168, "rock", 1.0]],
        )
        for kind in ("received", "segmentation", "truth_segmentation", "depth", "rival"):
            self._picture(frame, kind, news, blobs)
        self._picture(frame, "tiles", news, blobs)
        self.rival = {"codec": "WebP", "bytes": len(file("rival", frame)[1]), "frame": frame, "words": None}
        if state["status"] == "partial" and self._draw.random() < 0.5:
            line = f"frame {frame}: drawn without {sum(not one for one in state['sections'])} of {len(state['sections'])} sections"
            news["log"].append(line)
            self.kept["log"].append(line)

    def _figures(self, news: dict[str, Any]) -> None:
        t = self.now / SECOND
        shown = [one for one in self.frames.values() if one["drawn_ns"] is not None]
        age = t - max(one["captured_ns"] for one in shown) / SECOND if shown else None
        lost = self.values["link.hops.1.loss.loss"] if shown else None
        latency = (shown[-1]["drawn_ns"] - shown[-1]["captured_ns"]) / SECOND if shown else None
        for name, label, unit, value in (
            ("age", "Age of the picture", "s", age),
            ("latency", "From capture to drawn", "s", latency),
            ("bit_rate", "On the air", "bit/s", 350 + 120 * np.sin(t / 9)),
            ("loss", "Packets lost", "%", None if lost is None else 100 * lost * (1 + 0.3 * np.sin(t / 5))),
            ("queue", "Waiting packets", "", max(0.0, round(6 * np.sin(t * np.pi / 2)))),
            ("psnr", "PSNR", "dB", shown[-1]["scores"]["psnr_db"] if shown else None),
            ("miou", "mIoU", "", 0.62 if shown else None),
        ):
            kept = self.curves.setdefault(name, {"label": label, "unit": unit, "points": []})
            if kept["points"] and t <= kept["points"][-1][0]:
                continue
            kept["points"].append([t, value])
            news["curves"][name] = {"label": label, "unit": unit, "points": [[t, value]]}

    def change(self, paths: dict[str, Any], by: str) -> tuple[str | None, dict[str, Any]]:
        """Return why the change is refused, or None, and its keys of a tick."""
        known = {one["path"]: one for one in self.stated}
        for path, value in paths.items():
            if path not in known:
                return f"{path}: no such field", {}
            if path.endswith("loss.loss") and value > 0.9:
                return f"{path}: {value} is over 0.9, expected a link that lets something through", {}
        marks = []
        for path, value in paths.items():
            marks.append(
                {
                    "t_s": self.now / SECOND,
                    "text": f"{known[path]['label'].lower()} {self.values[path]} → {value}",
                    "by": by,
                }
            )
            self.values[path] = value
        self.kept["marks"] += marks
        return None, {"values": paths, "marks": marks}

    def state(self, may_steer: bool) -> tuple[dict[str, Any], list[bytes]]:
        """Return what a viewer needs on joining: of pictures the newest of each kind, and what the received was made of."""
        blobs: list[bytes] = []
        pictures = []
        wanted = list(self.newest.items())
        if "received" in self.newest:
            wanted.append(("sent", self.newest["received"]))
        for kind, frame in wanted:
            lossless = not (self.lossy and kind in ("sent", "received"))
            pictures.append(self.describe(kind, frame, blobs, lossless=lossless))
        hops = [
            {"name": "rover-orbiter", "rate_bps": 2000, "delay_s": 0.02, "trace": None},
            {"name": "orbiter-earth", "rate_bps": 500, "delay_s": 10.0, "trace": None},
        ]
        return {
            "type": "state",
            "protocol": 1,
            "mode": self.mode,
            "may_steer": may_steer,
            "title": "Mars rover",
            "codec": "gsc tiny",
            "source": "world:mars",
            "tasks": ["detection"],
            "size": list(SIZE),
            "hops": hops,
            "back": {"rate_bps": 16, "delay_s": 10.0},
            "mtu_bytes": 128,
            "controls": [{**one, "value": self.values[one["path"]]} for one in self.stated],
            "stories": [{"name": "mars", "title": "Mars rover"}, {"name": "rov", "title": "ROV under water"}],
            "presets": ["mars-relay", "lora-sf12"],
            "duration_ns": 100 * SECOND if self.mode == "replay" else None,
            **self.kept,
            "curves": self.curves,
            "frames": [self.frames[one] for one in sorted(self.frames)],
            "pictures": pictures,
            **self.summary(),
        }, blobs
