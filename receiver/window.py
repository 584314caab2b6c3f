"""Which frame a packet is of: packets carry the low bits of its number, and no packet alone moves that far."""

from link import fragment, packet
from link.frame import Payload
from link.packet import Kind, Packet

AHEAD = 64
"""Frames by which a packet may be ahead of all others and still be taken at its word."""
_HELD = 16  # packets that wait for a second one
_TURNS = (1, -1, 2, -2, 3, -3, 4, -4)  # of the wire's numbers by which the window may be wrong


class FrameWindow:
    """Follows the newest frame, from which the full number of every other is told.

    A packet further ahead than `AHEAD` is the first after a long outage, or one whose damage the checksum did not find,
    or a forged one. Taken at its word, the last two would give every frame that follows another number. So it waits
    until another packet, not a copy of it, speaks for about the same frame; a frame of one packet speaks for itself,
    by its hash. Where several led it astray, or an outage was longer than the wire can number, the hash of the first
    frame that is whole sets it right (`renumber`).
    """

    def __init__(self) -> None:
        self.newest = -1
        self._held: list[Packet] = []

    def place(self, parsed: Packet) -> list[Packet] | None:
        """Return what can be taken now: those that waited for *parsed*, and itself at the end.

        Nothing where it must wait; None where a copy of it waits already.
        """
        frame = self.number(parsed)
        near = [item for item in self._held if abs(self.number(item) - frame) <= AHEAD]
        if frame > self.newest + AHEAD and not _speaks_for_itself(frame, parsed):
            if parsed in near:
                return None
            if not near:
                self._held = [*self._held[1 - _HELD :], parsed]
                return []
        if near:
            self._held = [item for item in self._held if item not in near]
        return [*near, parsed]

    def renumber(self, payload: Payload, last: bytes, frame: int) -> int | None:
        """Return the number under which the hash in *last* holds for *payload*, taken for *frame*, and follow that.

        None where it holds under no number with the same low bits that is near enough to try.
        """
        for turn in _TURNS:
            number = frame + turn * packet.FRAMES
            if number >= 0 and fragment.verify(payload, last, number):
                self.newest = number - 1
                return number
        return None

    def number(self, parsed: Packet) -> int:
        """Return the full number of the frame that *parsed* is of, by the newest one."""
        return packet.frame_after(parsed.frame, self.newest)


def _speaks_for_itself(frame: int, parsed: Packet) -> bool:
    if parsed.kind != Kind.DATA or parsed.index != 0 or not parsed.last:
        return False
    return fragment.verify(fragment.reassemble({0: parsed.body}, 1), parsed.body, frame)
