"""Campaigns of damaged and hostile packets and sections through every parser, the receiver and all decoders.

Two kinds of harm: bytes changed on the way, which the checksum must catch every time, and bytes changed by
somebody who then makes the checksum right, which must cost pictures and nothing else.
"""

import random
import time
from typing import Any

import numpy as np
import pytest
from campaigns import bounded, mutate, seed, sizes
from toys import no_clock, session

from link import fragment, packet, timing
from link.config import TASKS
from link.errors import FarlinkError
from link.events import Fate
from link.fingerprint import fingerprint, short
from link.frame import Frame, Payload
from link.packet import Kind, Packet, PacketError
from link.repair import arq, fec
from receiver.codecs import DECODERS
from receiver.receiver import Receiver
from scenarios.models.analysts import shipped
from sender.codecs import ENCODERS

FINGERPRINT = 0x5EEDF00D
CODECS = sorted(DECODERS)
SLOW_S = 2.0
"""What no input may take; the usual one takes a thousandth of that, but machines are busy."""


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
@sizes(100_000, 5_000_000)
@pytest.mark.parametrize("framing", ["compact", "ccsds", "uslp", "bp"])
def test_no_mutated_packet_passes_the_parser(request, framing, size):
    """Of ten million, chance would let one through in 430 campaigns: 32 bits are no more than that."""
    rng = random.Random(seed(request))
    good = [packet.wrap(data, framing, number, feedback=False) for number, data in enumerate(seeds())]
    with bounded(0.5, 32) as meter:
        for number in range(size):
            data = good[number % len(good)]
            bad = mutate(data, rng, good)
            started = time.thread_time()
            try:
                packet.parse(packet.unwrap(bad, framing), FINGERPRINT)
            except PacketError:
                continue
            finally:
                meter.add(time.thread_time() - started, bad)
            # A changed sequence number outside the checksum is the only change that may go unnoticed.
            inner = packet.unwrap(bad, framing)
            assert any(inner == packet.unwrap(each, framing) for each in good), bad.hex()


@pytest.mark.slow
@sizes(30_000, 1_000_000)
def test_bodies_with_a_right_checksum_are_read_or_refused(request, size):
    """Chunks, repair packets, requests: somebody made them, and every parser behind the checksum has them."""
    rng = random.Random(seed(request))
    good = [
        *fragment.fragment([bytes(3), bytes(70), b"", bytes(200)], 90, 5),
        *fec.encode((2, 1), [b"a" * 40, b"b" * 9, b"c" * 40], 2),
        arq.RepairRequest((1, 2, 3, 9), 12, 2).pack(100),
    ]
    read = 0
    with bounded(SLOW_S, 64) as meter:
        for number in range(size):
            bad = mutate(good[number % len(good)], rng, good)
            with meter.input(bad):
                for parser in (arq.parse, fec.split):
                    try:
                        parser(bad)
                        read += 1
                    except ValueError:
                        pass
                for last in (False, True):
                    try:
                        read += len(fragment.chunks(bad, last=last)) > 0
                    except ValueError:
                        pass
                whole = fragment.reassemble({0: good[0], 1: bad, 2: good[2]}, 3)
                assert len(whole.sections) <= fragment.MAX_SECTIONS + 1
    assert read > size // 10


@pytest.mark.slow
@sizes(30_000, 1_400_000)
def test_no_changed_frame_is_taken_for_a_whole_one(request, size):
    """Packets of it flipped, cut, put together with those of another: all with right checksums, so the hash decides."""
    rng = random.Random(seed(request))
    frames = []
    for number in range(40):
        sections = tuple(rng.randbytes(rng.randrange(1, 90)) for _ in range(rng.randrange(1, 7)))
        low = number % 10 + packet.FRAMES * (number // 10)  # four frames for each number on the wire
        frames.append((low, sections, fragment.fragment(sections, rng.choice((40, 60, 120)), low)))
    spare = [body for _, _, bodies in frames for body in bodies]
    wrong = verified = 0
    with bounded(SLOW_S, 32) as meter:
        for number in range(size):
            low, sections, bodies = frames[number % len(frames)]
            found = dict(enumerate(bodies))
            at = rng.randrange(len(bodies))
            way = rng.randrange(4)
            if way == 0:
                found[at] = mutate(bodies[at], rng, spare)
            elif way == 1:
                found[at] = rng.choice(frames[number % 10 :: 10])[2][-1]
            elif way == 2:
                found = dict(enumerate(rng.choice(frames)[2]))
            else:
                found[at], found[0] = found[0], found[at]
            count = len(found)
            with meter.input(found[at] if at in found else b""):
                whole = fragment.reassemble(found, count)
                holds = fragment.verify(whole, found[count - 1], low)
            wrong += whole.sections != sections
            verified += holds
            assert holds == (whole.sections == sections and found[count - 1][-8:] == bodies[-1][-8:])
    print(
        f"{wrong:,} frames were not what was sent, {size - wrong:,} were, {verified:,} were taken for whole"
    )
    assert wrong > size // 2


def campaign_session(codec):
    link = {
        "mtu_bytes": 96,
        "hops": [{"name": "air", "rate_bps": 2000}],
        "repair": {"fec": 0.3, "arq": True},
        "return": {"rate_bps": 100},
    }
    plan = session(link, frame_bytes=500)
    named = plan.profile.model_copy(update=shipped("world"))  # for a codec that sends what models find
    return plan.model_copy(
        update={"codec": plan.codec.model_copy(update={"name": codec}), "analysis": TASKS, "profile": named}
    )


def payloads_of(plan):
    """Return a few frames, encoded for real."""
    encoder = ENCODERS[plan.codec.name](plan)
    y, x = np.mgrid[0 : plan.camera.height, 0 : plan.camera.width]
    for number in range(6):
        pixels = np.stack([x * 3 + number * 20, y * 4, (x ^ y) * 2], -1).astype(np.uint8)
        yield encoder.encode(Frame(number, 0, pixels, "x"))


def packets_of(plan, payload, frame):
    """Return the packets of *frame*, with three that repair it."""
    bodies = fragment.fragment(
        [section or b"" for section in payload.sections], timing.body_bytes(plan.link), frame
    )
    spare, low = fec.encode((len(bodies),), bodies, 3), frame % packet.FRAMES
    made = [Packet(Kind.DATA, low, i, body, 0, i == len(bodies) - 1) for i, body in enumerate(bodies)]
    return made + [Packet(Kind.FEC, low, i, body) for i, body in enumerate(spare, len(bodies))]


class Blank:
    """A generator that draws nothing, at the size that is asked for."""

    def generate(self, wishes):
        rows, columns = wishes[0].maps.shape[1:]
        return [np.zeros((16 * rows, 16 * columns, 3), np.uint8)] * len(wishes)


def decoder_of(plan):
    decoder: Any = DECODERS[plan.codec.name](plan)
    if hasattr(decoder, "_generator"):
        decoder._generator = Blank()  # what is read of bad bytes is on trial, not the drawing of it
    return decoder


class Checked:
    """A decoder that remembers what it was given since it was last asked, and that it never raised."""

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
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("resealed", [False, True])
@sizes(4_000, 100_000)
def test_mutated_packets_through_reassembly_fec_and_decoder(request, codec, resealed, size):
    plan = campaign_session(codec)
    own = fingerprint(plan)
    key = short(own)
    originals = list(payloads_of(plan))
    decoder = Checked(decoder_of(plan), (48, 64))
    receiver = Receiver(plan, timing.times(plan, {}), decoder, own, no_clock)
    rng = random.Random(seed(request))
    complete = damaged = frame = now = 0
    verdicts: set[Fate] = set()
    spare: list[bytes] = [b"x"]
    with bounded(SLOW_S, 96) as meter:
        while meter.inputs < size:
            payload = originals[frame % len(originals)]
            batch = []
            for item in packets_of(plan, payload, frame):
                data = item.pack(key)
                if rng.random() < 0.25:
                    if resealed:
                        low = item.frame if rng.random() < 0.8 else rng.randrange(packet.FRAMES)
                        body = mutate(item.body, rng, spare)
                        data = Packet(
                            item.kind, low, item.index, body, item.priority, rng.random() < 0.5
                        ).pack(key)
                    else:
                        data = mutate(data, rng, spare)
                batch.append((len(batch), data))
            spare = [data for _, data in batch]
            rng.shuffle(batch)
            decoder.given.clear()
            now += 10**12
            try:
                with meter.input(spare[0], len(batch)):
                    out = receiver.step(now, batch)
            except FarlinkError as error:
                pytest.fail(f"{error}")
            assert len(out.verdicts) == len(batch)
            verdicts |= {Fate(fate) for _, fate in out.verdicts}
            for event in out.events:
                damaged += event.kind == "damaged"
                if event.kind == "closed" and event.fields["complete"]:
                    complete += 1
                    assert event.frame is not None
                    assert originals[event.frame % len(originals)] in decoder.given, (
                        "another was called complete"
                    )
            if not resealed:
                for given in decoder.given:
                    assert any(matches(given, each) for each in originals), "a section came through changed"
            frame += 1
    print(f"{frame:,} frames: {complete:,} complete, {damaged:,} damaged, {decoder.shown:,} shown")
    # Where forged packets never stop, few frames of ten packets are whole; but there are some to the end.
    assert complete > frame // (200 if resealed else 2)
    assert (damaged > 0) == resealed
    assert decoder.shown
    assert verdicts <= {
        Fate.DELIVERED,
        Fate.BAD_CHECKSUM,
        Fate.MALFORMED,
        Fate.DUPLICATE,
        Fate.DEADLINE,
        Fate.VERSION,
    }


def matches(given: Payload, original: Payload) -> bool:
    """Whether every section of *given* is missing or as it was sent."""
    pairs = zip(given.sections, (*original.sections, None), strict=False)
    return all(section is None or section == sent for section, sent in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
@sizes(500, 20_000)
def test_mutated_sections_through_every_decoder(request, codec, size):
    """What a forger puts into a frame: each section changed, left out, or put in another's place."""
    plan = campaign_session(codec)
    decoder = decoder_of(plan)
    originals = [payload.sections for payload in payloads_of(plan)]
    spare = [section or b"" for sections in originals for section in sections]
    rng = random.Random(seed(request))
    shown = 0
    with bounded(SLOW_S, 256) as meter:
        for number in range(size):
            sections: list[bytes | None] = list(originals[number % len(originals)])
            for _ in range(rng.randrange(1, 4)):
                at = rng.randrange(len(sections))
                way = rng.randrange(8)
                if way == 0:
                    sections[at] = None
                elif way == 1:
                    sections.insert(at, rng.choice(spare))
                else:
                    sections[at] = mutate(sections[at] or b"", rng, spare)
            with meter.input(b"".join(section or b"" for section in sections)):
                pixels = decoder.decode(Payload(tuple(sections)))
            assert pixels is None or pixels.shape == (48, 64, 3)
            shown += pixels is not None
    assert shown > 0
