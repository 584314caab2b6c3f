"""Mutated packets through every parser. CI runs a share; FARLINK_FUZZ=1 runs the figures of the release.

Two kinds of harm: bytes changed on the way, which the checksum must catch every time, and bytes changed by
somebody who then makes the checksum right, which must cost pictures and nothing else.
"""

import os
import resource
import time
from typing import Any

import numpy as np
import pytest
from toys import no_clock, session

from link import fragment, packet, timing
from link.errors import FarlinkError
from link.events import Fate
from link.fingerprint import fingerprint, short
from link.frame import Frame, Payload
from link.packet import Kind, Packet, PacketError
from link.repair import fec
from receiver.codecs import DECODERS
from receiver.receiver import Receiver
from sender.codecs import ENCODERS

FULL = os.environ.get("FARLINK_FUZZ") == "1"
PARSER = 10_000_000 if FULL else 200_000
FRAMES = 1_000_000 if FULL else 40_000
FINGERPRINT = 0x5EEDF00D


def mutate(data, rng):
    """Flip, cut, extend, splice or replace: return other bytes than *data*."""
    way = rng.integers(6)
    found = bytearray(data)
    if way == 0 or not found:
        for _ in range(int(rng.integers(1, 6))):
            found[int(rng.integers(len(found)))] ^= 1 << int(rng.integers(8))
    elif way == 1:
        del found[int(rng.integers(len(found))) :]
    elif way == 2:
        found += rng.bytes(int(rng.integers(1, 40)))
    elif way == 3:
        at = int(rng.integers(len(found)))
        found[at : at + int(rng.integers(1, 12))] = rng.bytes(int(rng.integers(0, 12)))
    elif way == 4:
        at, to = sorted(rng.integers(0, len(found) + 1, 2).tolist())
        found[at:to] = found[:at][: to - at]
    else:
        found = bytearray(rng.bytes(int(rng.integers(0, 200))))
    return bytes(found)


def seeds():
    rng = np.random.default_rng(0)
    for size in (0, 1, 7, 40, 110):
        for kind in Kind:
            yield Packet(
                kind,
                int(rng.integers(16384)),
                int(rng.integers(1024)),
                rng.bytes(size),
                int(rng.integers(4)),
                bool(size & 1),
            ).pack(FINGERPRINT)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("framing", ["compact", "ccsds"])
def test_no_mutated_packet_passes_the_parser(framing):
    rng = np.random.default_rng(1)
    good = [packet.wrap(data, framing, number, feedback=False) for number, data in enumerate(seeds())]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slowest = 0.0
    for number in range(PARSER // 2):
        data = good[number % len(good)]
        bad = mutate(data, rng)
        started = time.thread_time()
        try:
            found = packet.parse(packet.unwrap(bad, framing), FINGERPRINT)
        except PacketError:
            found = None
        slowest = max(slowest, time.thread_time() - started)
        # A changed sequence number outside the checksum is the only change that may go unnoticed.
        assert found is None or packet.unwrap(bad, framing) == packet.unwrap(data, framing), bad.hex()
    assert slowest < 0.1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024


def frames_of(plan):
    """Return (payload, packets) of a few frames, encoded for real, with repair packets."""
    encoder = ENCODERS[plan.codec.name](plan)
    y, x = np.mgrid[0 : plan.camera.height, 0 : plan.camera.width]
    for number in range(6):
        pixels = np.stack([x * 3 + number * 20, y * 4, (x ^ y) * 2], -1).astype(np.uint8)
        payload = encoder.encode(Frame(number, 0, pixels, "x"))
        bodies = fragment.fragment(
            [section or b"" for section in payload.sections], timing.body_bytes(plan.link)
        )
        spare = fec.encode((len(bodies),), bodies, 3)
        made = [Packet(Kind.DATA, number, i, body, 0, i == len(bodies) - 1) for i, body in enumerate(bodies)]
        made += [Packet(Kind.FEC, number, i, body) for i, body in enumerate(spare, len(bodies))]
        yield payload, made


class Blank:
    """A generator that draws nothing, at the size that is asked for."""

    def generate(self, wishes):
        rows, columns = wishes[0].maps.shape[1:]
        return [np.zeros((16 * rows, 16 * columns, 3), np.uint8)] * len(wishes)


class Checked:
    """A decoder that remembers what it was given and that it never raised."""

    def __init__(self, decoder, size):
        self.decoder, self.size = decoder, size
        self.shown = 0
        self.given = []

    def decode(self, payload):
        self.given.append(payload)
        pixels = self.decoder.decode(payload)
        if pixels is not None:
            assert pixels.shape == (*self.size, 3)
            self.shown += 1
        return pixels


@pytest.mark.slow
@pytest.mark.timeout(6000)
@pytest.mark.parametrize("codec", sorted(DECODERS))
@pytest.mark.parametrize("resealed", [False, True])
def test_mutated_packets_through_reassembly_fec_and_decoder(codec, resealed):
    link = {
        "mtu_bytes": 96,
        "hops": [{"name": "air", "rate_bps": 2000}],
        "repair": {"fec": 0.3, "arq": True},
        "return": {"rate_bps": 100},
    }
    plan = session(link, frame_bytes=500)
    plan = plan.model_copy(update={"codec": plan.codec.model_copy(update={"name": codec})})
    own = fingerprint(plan)
    key = short(own)
    sources = list(frames_of(plan))
    originals = [payload for payload, _ in sources]
    real: Any = DECODERS[codec](plan)
    if codec == "gsc":
        real._generator = Blank()  # what is read of bad bytes is on trial, not the drawing of it
    decoder = Checked(real, (48, 64))
    receiver = Receiver(plan, timing.times(plan, {}), decoder, own, no_clock)
    rng = np.random.default_rng([DECODERS_ORDER.index(codec), resealed])
    fed = frame = now = 0
    while fed < FRAMES // 2 // len(DECODERS):
        payload, made = sources[frame % len(sources)]
        batch = []
        for item in made:
            low = Packet(item.kind, frame % packet.FRAMES, item.index, item.body, item.priority, item.last)
            data = low.pack(key)
            if rng.random() < 0.4:
                if resealed:
                    inner = Packet(
                        low.kind,
                        low.frame,
                        low.index,
                        mutate(low.body, rng),
                        low.priority,
                        bool(rng.integers(2)),
                    )
                    data = inner.pack(key)
                else:
                    data = mutate(data, rng)
            batch.append((fed, data))
            fed += 1
        rng.shuffle(batch)
        before = len(decoder.given)
        now += 10**12
        try:
            out = receiver.step(now, [(int(number), bytes(data)) for number, data in batch])
        except FarlinkError as error:
            pytest.fail(f"{error}")
        assert len(out.verdicts) == len(batch)
        if not resealed:
            for given in decoder.given[before:]:
                whole = [original for original in originals if matches(given, original)]
                assert whole, "a section came through changed"
        frame += 1
    assert decoder.given
    assert decoder.shown or codec in ("webp", "avif")
    verdicts = {Fate(fate) for _, fate in out.verdicts}
    assert verdicts <= {
        Fate.DELIVERED,
        Fate.BAD_CHECKSUM,
        Fate.MALFORMED,
        Fate.DUPLICATE,
        Fate.DEADLINE,
        Fate.VERSION,
    }


DECODERS_ORDER = sorted(DECODERS)


def matches(given: Payload, original: Payload) -> bool:
    """Whether every section of *given* is missing or as it was sent."""
    pairs = zip(given.sections, (*original.sections, None), strict=False)
    return all(section is None or section == sent for section, sent in pairs)
