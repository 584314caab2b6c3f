"""What is true of the pictures of several senders, each with a source of its own."""

from collections.abc import Mapping
from typing import Any

from link.config import Camera, camera_at
from link.errors import UsageError
from scenarios.truth.truth import Truth, Truths, open_truth


def signed(name: str, sender: str) -> str:
    """Return the *name* of a shot as `open_truths` knows it, *sender* being empty where there is one sender."""
    return f"{sender}/{name}" if sender else name


class SendersTruths:
    """The truths of each sender, whose names shots bear (`signed`). Raise UsageError where they are not of one kind."""

    def __init__(self, truths: Mapping[str, Truths]) -> None:
        self._truths = truths
        first, *others = truths.values()
        self.label_names, self.box_names, self.domain = first.label_names, first.box_names, first.domain
        for other in others:
            if (other.label_names, other.box_names, other.domain) != (
                first.label_names,
                first.box_names,
                first.domain,
            ):
                raise UsageError("senders: their sources have different kinds of truth, which no score joins")

    def _whose(self, name: str) -> tuple[Truths, str]:
        sender, _, own = name.partition("/")
        if sender not in self._truths:
            raise UsageError(f"{name!r} is no picture of a sender")
        return self._truths[sender], own

    def of(self, name: str) -> Truth:
        """See `Truths.of`."""
        truths, own = self._whose(name)
        return truths.of(own)

    def sequence(self, name: str) -> str:
        """See `Truths.sequence`."""
        truths, own = self._whose(name)
        return signed(truths.sequence(own), name.partition("/")[0])


def open_truths(about: Mapping[str, Any], seed: int) -> Truths | None:
    """Return what is true of the pictures of *about*, a scenario as journals hold it; None: of some nothing is known.

    Raise UsageError or ValueError as `open_truth` does, and where senders' truths do not go together.
    """
    camera = Camera.model_validate(about["camera"])
    if not about.get("senders"):
        return open_truth(camera, seed)
    found = {}
    for place, sender in enumerate(about["senders"]):
        own = open_truth(*camera_at(camera, seed, place, sender.get("source")))
        if own is None:
            return None
        found[str(sender["name"])] = own
    return SendersTruths(found)
