"""Small stand-ins for cameras and codecs, and ways to run cores without processes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from link import journal, timing
from link.conductor import Conductor
from link.config import Session
from link.end import Core
from link.fingerprint import fingerprint, short
from link.frame import Frame, Payload, Pixels
from link.team import Team
from receiver.receiver import Receiver
from scenarios import schema
from sender.camera.picture import Shot
from sender.sender import Sender


def shots(count: int, size: tuple[int, int] = (48, 64)) -> Iterator[Shot]:
    for number in range(count):
        yield Shot(f"toy#{number}", np.full((*size, 3), number % 256, np.uint8), None, "as is")


def sections(number: int, count: int = 9, size: int = 200) -> tuple[bytes, ...]:
    rng = np.random.default_rng(number)
    return tuple(rng.bytes(size) for _ in range(count))


class ToyEncoder:
    """Sends random sections that the decoder can check."""

    def __init__(self, count: int = 9, size: int = 200) -> None:
        self.count, self.size = count, size

    def encode(self, frame: Frame) -> Payload:
        return Payload(sections(frame.number, self.count, self.size))


class ToyDecoder:
    """Keeps the payloads; shows a picture where anything arrived."""

    def __init__(self) -> None:
        self.payloads: list[Payload] = []

    def decode(self, payload: Payload) -> Pixels | None:
        self.payloads.append(payload)
        if not any(payload.sections):
            return None
        return np.zeros((48, 64, 3), np.uint8)


def no_clock() -> float:
    return 0.0


def session(
    link: dict[str, Any], *, seed: int = 1, frame_bytes: int = 1800, period_s: float = 60.0
) -> Session:
    tree = {
        "name": "toy",
        "camera": {"width": 64, "height": 48, "period_s": period_s},
        "codec": {"name": "jpeg2000", "frame_bytes": frame_bytes},
        "link": link,
        "seed": seed,
    }
    return Session.model_validate(tree)


def cores(plan: Session, frames: int, encoder: Any = None, decoder: Any = None) -> tuple[Sender, Receiver]:
    waits = timing.times(plan, schema.traces(plan))
    own = fingerprint(plan)
    sender = Sender(plan, waits, shots(frames), encoder or ToyEncoder(), own, no_clock)
    return sender, Receiver(plan, waits, decoder or ToyDecoder(), own, no_clock)


def run(plan: Session, path: Path, frames: int = 6, encoder: Any = None, decoder: Any = None) -> journal.Run:
    """Run *plan* in one process and return its journal."""
    return play(plan, path, *cores(plan, frames, encoder, decoder))


def teams(plan: Session, frames: int, encoder: Callable[[int], Any]) -> tuple[Team, Team, list[ToyDecoder]]:
    """Return the two ends of a session with several senders, each with the *encoder* of its number."""
    own = fingerprint(plan)
    waits = timing.times(plan, schema.traces(plan))
    decoders = [ToyDecoder() for _ in plan.senders]
    out = [Sender(plan, waits, shots(frames), encoder(at), own, no_clock) for at in range(len(plan.senders))]
    back = [Receiver(plan, waits, decoder, own, no_clock) for decoder in decoders]
    return Team(plan, out, short(own), 0), Team(plan, back, short(own), None), decoders


def play(plan: Session, path: Path, sender: Core, receiver: Core) -> journal.Run:
    """Run *plan* between two ends in one process and return its journal."""
    head = {"scenario": plan.model_dump(mode="json", by_alias=True), "seed": plan.seed}
    with journal.Journal(path, head) as book:
        Conductor(plan, schema.traces(plan), sender, receiver, book).run()
    return journal.read(path)


def kinds(run: journal.Run, kind: str) -> list[dict[str, Any]]:
    return [event for event in run.events if event["kind"] == kind]
