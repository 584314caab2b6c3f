"""One conformance suite for every codec: a new row in the tables is tested by all of this, with no change here.

`bands`, the toy codec of three files in `tests/toy_codec`, goes through it beside those that come with farlink. What
a codec says of itself (`CodecFacts`, `PayloadSyntax`) decides what is expected of it, never its name.
"""

import random
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from campaigns import bounded, mutate, seed, sizes
from test_codec_pairs import picture
from toy_codec.decoder import BandsDecoder
from toy_codec.encoder import BandsEncoder
from toy_codec.syntax import BandsSyntax
from toys import kinds, run

from link import fragment, packet, timing
from link.codecs import SYNTAXES
from link.codecs.syntax import EVERY_CODEC
from link.config import TASKS, Codec, Session
from link.errors import BudgetError
from link.fingerprint import fingerprint
from link.frame import Frame, Payload, Pixels
from link.hops import Repair
from receiver.codecs import DECODERS, DecoderRow
from scenarios import schema
from scenarios.results.cell import RunResult, make
from scenarios.results.judge import Analysis
from scenarios.sweep.cached import Workbench, ends
from scenarios.sweep.caches import Store
from sender.codecs import ENCODERS, EncoderRow
from sender.encoder import Adjustable, Quality, Weighed
from sender.protection import Protection

SIZE = (64, 48)
SLOW_S = 2.0
CODECS = [*SYNTAXES, "bands"]
SETTINGS = {"codec.channels": 3, "codec.steps": 1}
"""Little work for those that read them."""


@pytest.fixture(autouse=True)
def bands(monkeypatch):
    """Add the toy codec's row to each of the three tables."""
    monkeypatch.setitem(SYNTAXES, "bands", BandsSyntax())
    monkeypatch.setitem(ENCODERS, "bands", EncoderRow(BandsEncoder.from_session))
    monkeypatch.setitem(DECODERS, "bands", DecoderRow(BandsDecoder.from_session))


def plan_of(name: str, size: tuple[int, int] = SIZE, frame_bytes: int = 900, **fields: object) -> Session:
    """Return a session of codec *name* with every analysis model that there is for its pictures."""
    changes = {
        **SETTINGS,
        "camera.width": size[0],
        "camera.height": size[1],
        "codec.name": name,
        "codec.frame_bytes": frame_bytes,
        "profile.device": "cpu",
        **{key.replace("__", "."): value for key, value in fields.items()},
    }
    return schema.load("mars-relay", (), changes).session()


@dataclass(frozen=True)
class Pair:
    """Both ends of one codec, and a frame that went in."""

    plan: Session
    payload: Payload
    decoder: Any

    def decode(self, *sections: bytes | None) -> Pixels | None:
        shown: Pixels | None = self.decoder.decode(Payload(sections))
        if shown is not None:
            assert shown.shape == (self.plan.camera.height, self.plan.camera.width, 3)
            assert shown.dtype == np.uint8
        return shown


@cache
def _pair(name: str, size: tuple[int, int], frame_bytes: int) -> Pair:
    plan = plan_of(name, size, frame_bytes)
    payload = ENCODERS[name](plan).encode(Frame(5, 0, picture(*size), "drawn"))
    return Pair(plan, payload, DECODERS[name](plan))


def pair(name: str, size: tuple[int, int] = SIZE, frame_bytes: int = 900) -> Pair:
    return _pair(name, size, frame_bytes)


every_codec = pytest.mark.parametrize("name", CODECS)


# What a codec says of itself


def test_the_three_tables_name_the_same_codecs():
    assert list(ENCODERS) == list(DECODERS) == list(SYNTAXES) == CODECS


def test_tables_tell_codecs_apart():
    prints = {fingerprint(plan_of(name)) for name in CODECS}
    assert len(prints) == len(CODECS)


@every_codec
def test_a_sweep_protects_as_a_run_does(name):
    """What stands before the encoder in a sweep, so that payloads are known, can do all that the encoder can."""
    plan = plan_of(name).model_copy(
        update={
            "link": plan_of(name).link.model_copy(update={"repair": Repair(fec=0.2, protection="unequal")})
        }
    )
    encoder, own = ends(plan, Workbench(Store(None))).encoder, ENCODERS[name](plan)
    for can in (Weighed, Adjustable):
        assert isinstance(encoder, can) == isinstance(own, can)
    if isinstance(encoder, Weighed) and isinstance(own, Weighed):
        assert encoder.gains(9) == own.gains(9) and sum(own.gains(9)) > 0.5
        assert Protection.from_link(plan.link, encoder) is not None


@every_codec
def test_what_a_codec_says_of_itself_holds(name):
    facts, one = SYNTAXES[name].facts, pair(name)
    assert facts.title and "\n" not in facts.title and len(facts.title) < 120
    assert facts.settings <= set(Codec.model_fields) - EVERY_CODEC
    assert facts.tiles is None or facts.tiles in facts.kinds
    assert all(kind.isidentifier() and words for kind, words in facts.kinds.items())
    assert facts.adjustable == isinstance(ENCODERS[name](one.plan), Adjustable)
    assert facts.weighed == isinstance(ENCODERS[name](one.plan), Weighed)
    assert facts.weighed == (ENCODERS[name].worths is not None)
    assert not SYNTAXES[name].batched(one.plan) or hasattr(one.decoder, "decode_many")
    assert facts.reads("channels") or SYNTAXES[name].most_channels(one.plan) is None
    for row in (ENCODERS[name], DECODERS[name]):
        models = row.models(one.plan)
        assert all(where.exists() for where in models.values() if not isinstance(where, str))
        assert facts.neural or not models, "networks take part where `profile` is read"


@every_codec
def test_what_a_codec_does_not_read_changes_nothing(name):
    """Cells of a sweep that differ in nothing that it reads are one cell."""
    others: dict[str, Any] = {"channels": 2, "caption_words": 4, "noise_seed": 9, "steps": 2, "guidance": 2.0}
    unread = {f"codec__{key}": value for key, value in others.items() if not SYNTAXES[name].facts.reads(key)}
    plan, one = plan_of(name, **unread), pair(name)
    assert ENCODERS[name](plan).encode(Frame(5, 0, picture(*SIZE), "drawn")) == one.payload


# Round trip


@every_codec
def test_what_is_sent_is_shown_at_its_size(name):
    one = pair(name)
    assert one.payload.complete
    assert one.payload.size_bytes <= 900
    assert len(one.payload.sections) <= fragment.MAX_SECTIONS
    assert one.decode(*one.payload.sections) is not None
    assert SYNTAXES[name].worth_showing(one.plan.codec, one.payload)
    for number in range(len(one.payload.sections) + 3):
        assert SYNTAXES[name].kind(one.plan.codec, number) in SYNTAXES[name].facts.kinds


@every_codec
def test_the_same_frame_gives_the_same_bytes_and_the_same_picture(name):
    one, plan = pair(name), plan_of(name)
    encoder, decoder = ENCODERS[name](plan), DECODERS[name](plan)
    encoder.encode(Frame(0, 0, picture(*SIZE)[::-1].copy(), "upside down"))
    again = encoder.encode(Frame(7, 99, picture(*SIZE), "drawn"))
    assert again == one.payload or not SYNTAXES[name].repeatable(plan)
    decoder.decode(Payload(one.payload.sections[:1]))
    shown = decoder.decode(one.payload)
    assert shown is not None
    if not SYNTAXES[name].stateful(plan):
        before = one.decode(*one.payload.sections)
        assert before is not None and np.array_equal(shown, before)


@every_codec
@pytest.mark.parametrize("size", [(16, 16), (17, 33), (250, 18), (19, 250), (1000, 750)])
def test_any_size(name, size):
    one = pair(name, size, 2000)
    assert one.payload.complete
    assert one.payload.size_bytes <= 2000
    assert one.decode(*one.payload.sections) is not None


@every_codec
def test_a_budget_is_kept_or_said_to_be_too_small(name):
    met = []
    for budget in (1, 7, 20, 45, 90, 200, 500, 5000):
        encoder = ENCODERS[name](plan_of(name, frame_bytes=budget))
        try:
            payload = encoder.encode(Frame(3, 0, picture(*SIZE), "drawn"))
        except BudgetError as error:
            line = str(error)
            assert name in line and f"frame_bytes {budget}" in line and "drawn" in line and "\n" not in line
            assert not met, f"{budget} bytes are too few, {met[-1]} are not"
            continue
        assert payload.complete and payload.size_bytes <= budget
        met.append(budget)
    assert met[-1] == 5000


@pytest.mark.parametrize("name", [name for name in SYNTAXES if SYNTAXES[name].facts.adjustable])
def test_quality_that_rate_control_asks_for_is_kept(name):
    plan = plan_of(name, frame_bytes=5000)
    encoder = ENCODERS[name](plan)
    assert isinstance(encoder, Adjustable)
    frame = Frame(3, 0, picture(*SIZE), "drawn")
    sizes = [encoder.encode_at(frame, Quality(channels, 6)).size_bytes for channels in (0, 1, 3, 100)]
    assert sizes == sorted(sizes)
    assert sizes[-1] <= encoder.encode(frame).size_bytes + 1


# Bytes


def result(name: str, tmp_path: Any, frames: int = 2) -> RunResult:
    plan = plan_of(name, link__repair={"fec": 0.0, "arq": False}, link__return=None)
    path = tmp_path / "run.mcap"
    book = run(plan, path, frames, ENCODERS[name](plan), DECODERS[name](plan))
    unjudged = Analysis(dict.fromkeys(TASKS))  # toy frames have no truth
    return make(book, lambda _run: unjudged, lambda _link: {})


@every_codec
def test_every_byte_is_counted_and_none_twice(name, tmp_path):
    made = result(name, tmp_path)
    sent, told = made.figures["bytes"], kinds(made.run, "encoded")
    assert len(told) == 2
    by_kind: Counter[str] = Counter()
    plan = plan_of(name)
    for event in told:
        assert event["sections"]
        for number, size in enumerate(event["sections"]):
            by_kind[SYNTAXES[name].kind(plan.codec, number)] += size
    assert {kind: size for kind, size in sent["payload"].items() if size} == +by_kind
    parts = sum(sent["payload"].values()) + sum(sent[key] for key in ("header", "fec", "repair", "feedback"))
    # each packet once, however many hops it took
    assert sum(map(len, made.run.data.values())) == sent["on_air"] == parts
    assert sent["header"] > 0


# Loss


@every_codec
def test_each_section_lost_in_turn(name):
    one = pair(name)
    sections = one.payload.sections
    for lost in range(len(sections)):
        holed = tuple(None if number == lost else section for number, section in enumerate(sections))
        alone = tuple(section if number == lost else None for number, section in enumerate(sections))
        for given in (holed, alone, sections[: lost + 1], sections[lost:]):
            shown = one.decode(*given)
            assert shown is None or SYNTAXES[name].worth_showing(one.plan.codec, Payload(given))


@every_codec
def test_nothing_is_shown_of_nothing(name):
    one = pair(name)
    for given in ((), (None,), (None, None), (None,) * len(one.payload.sections)):
        assert one.decode(*given) is None
        assert not SYNTAXES[name].worth_showing(one.plan.codec, Payload(given))
        if (read := SYNTAXES[name].reader(one.plan)) is not None:
            assert not read(Payload(given)).maps and read(Payload(given)).caption is None


# Damage


class Blank:
    """A generator that draws nothing: what is read of bad bytes is on trial, not the drawing of it."""

    def generate(self, wishes):
        rows, columns = wishes[0].maps.shape[1:]
        return [np.zeros((16 * rows, 16 * columns, 3), np.uint8)] * len(wishes)


def hasty_decoder(plan: Session) -> Any:
    """Return the decoder of *plan*, its generator, where it has one, a blank."""
    decoder: Any = DECODERS[plan.codec.name](plan)
    if hasattr(decoder, "_generator"):
        decoder._generator = Blank()
    return decoder


def damage(sections: tuple[bytes | None, ...], rng: random.Random) -> tuple[bytes | None, ...]:
    """Return *sections* with one or two changed, and now and then one lost, doubled, swapped or added."""
    changed = list(sections)
    others = [section for section in sections if section]
    for _ in range(rng.choice((1, 1, 1, 2))):
        at = rng.randrange(len(changed))
        changed[at] = mutate(changed[at] or b"", rng, others)
    way = rng.randrange(12)
    at, to = rng.randrange(len(changed)), rng.randrange(len(changed))
    if way == 0:
        changed[at] = None
    elif way == 1:
        changed[at], changed[to] = changed[to], changed[at]
    elif way == 2:
        changed.insert(at, changed[to])
    elif way == 3:
        changed += [rng.randbytes(9)] * rng.randrange(1, 40)
    return tuple(changed)


@every_codec
@sizes(200, 1_000_000)
def test_damage_behind_right_checksums_shows_a_picture_or_nothing(request, name, size):
    """No exception, no other size, no long wait; and where it is read for people, the same."""
    one, large = pair(name, (32, 24), 400), pair(name, (32, 24), 5000)
    decoder, read = hasty_decoder(one.plan), SYNTAXES[name].reader(one.plan)
    rng = random.Random(seed(request))
    hasty = Pair(one.plan, one.payload, decoder)
    shown = 0
    with bounded(SLOW_S, 128) as meter:
        for number in range(size):
            given = damage((one, large)[number % 2].payload.sections, rng)
            with meter.input(b"".join(section or b"" for section in given)):
                shown += hasty.decode(*given) is not None
                SYNTAXES[name].worth_showing(one.plan.codec, Payload(given))
                if read is not None:
                    read(Payload(given))
    print(f"{shown:,} of {size:,} shown")
    assert shown > 0, "nothing that was damaged reached what decodes"


@every_codec
def test_packets_with_flipped_bits_never_reach_a_decoder(name):
    one = pair(name)
    room = timing.body_bytes(one.plan.link)
    bodies = fragment.fragment([section or b"" for section in one.payload.sections], room, 5)
    rng = random.Random(3)
    for index, body in enumerate(bodies):
        good = packet.Packet(packet.Kind.DATA, 5, index, body, 0, index + 1 == len(bodies)).pack(0x5EED)
        for _ in range(60):
            bad = bytearray(good)
            for _ in range(rng.choice((1, 1, 2, 5))):
                bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
            if bytes(bad) == good:
                continue
            with pytest.raises(packet.PacketError):
                packet.parse(bytes(bad), 0x5EED)
