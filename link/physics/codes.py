"""Error rates of channel codes from Eb/N0 of an information bit: tables with their sources, and closed forms.

`weights/codes.json` has a row a code: its points (dB, rate), where they are from and how uncertain they are. Between
points log10 of the rate is linear in dB. Beyond the last one the rate is held there and flagged, since no figure below
was found; before the first one the first two points' slope goes on, up to 1. All tables are of BPSK or QPSK with known
phase; real decoders lose .1 to .3 dB more (`implementation_db` of a budget).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import log10, sqrt
from typing import Any

from link import weights
from link.physics.budget import from_db
from link.physics.modulation import q

RS_WORD, RS_DATA, RS_CORRECTS = 255, 223, 16
"""Reed-Solomon of CCSDS 131.0-B: symbols of 8 bits in a word, of data, and how many may be wrong."""


@dataclass(frozen=True)
class Coded:
    """What a code makes of an Eb/N0."""

    rate: float
    """Of wrong bits where the code has no words, else of failed blocks, 0 to 1."""
    floored: bool
    """Whether the Eb/N0 is beyond the last point, so that the true rate is lower by an unknown factor."""


@dataclass(frozen=True)
class Code:
    """A row of the table."""

    name: str
    title: str
    code_rate: float
    """Information bits a channel bit."""
    block_bits: int | None
    """Information bits that fail together; None: the rate is of bits, and there are no words."""
    words_in_a_block: int
    """Of the table's rate; interleaved words share the bytes of one block, which fails with any of them."""
    points: tuple[tuple[float, float], ...]
    """(Eb/N0 in dB, rate), both in order."""
    source: str
    uncertainty: str
    uncertainty_db: float
    tail: Mapping[str, Any] | None = None
    """A union bound that goes on where the points end."""

    def word_error(self, eb_n0_db: float) -> Coded:
        """Return the table's own rate, of words or bits, at *eb_n0_db*."""
        if not self.points:
            return Coded(rs_word_error(from_db(eb_n0_db)), False)
        if self.tail is not None and eb_n0_db >= self.tail["from_db"]:
            return Coded(_union_bound(from_db(eb_n0_db), self.tail), False)
        points = self.points
        if self.tail is not None:
            end = self.tail["from_db"]
            points = (*points, (end, _union_bound(from_db(end), self.tail)))
        if eb_n0_db >= points[-1][0]:
            return Coded(points[-1][1], eb_n0_db > points[-1][0])
        after = next(at for at, (db, _) in enumerate(points) if at and eb_n0_db <= db)
        (low, before), (high, then) = points[after - 1], points[after]
        if eb_n0_db in (low, high):
            return Coded(before if eb_n0_db == low else then, False)
        share = (eb_n0_db - low) / (high - low)
        power = log10(before) + share * (log10(then) - log10(before))
        return Coded(float(10.0 ** min(0.0, power)), False)

    def error(self, eb_n0_db: float) -> Coded:
        """Return the rate of wrong bits (at most .5), or of failed blocks, at *eb_n0_db*."""
        word = self.word_error(eb_n0_db)
        if self.block_bits is None:
            return Coded(min(word.rate, 0.5), word.floored)
        return Coded(1.0 - (1.0 - word.rate) ** self.words_in_a_block, word.floored)

    def required_db(self, wanted: float) -> float:
        """Return the Eb/N0 in dB at which words (bits, where there are none) fail at the rate *wanted*.

        Raise ValueError where that is below what the table says.
        """
        if self.points and self.tail is None and wanted < self.points[-1][1]:
            raise ValueError(
                f"code {self.name}: an error rate of {wanted:g} is below the table's last point, "
                f"{self.points[-1][1]:g} at {self.points[-1][0]:g} dB; no source says what it takes"
            )
        low, high = -20.0, 40.0
        if self.word_error(high).rate > wanted:
            raise ValueError(
                f"code {self.name}: an error rate of {wanted:g} is not reached below {high:g} dB"
            )
        while high - low > 1e-9:
            middle = (low + high) / 2.0
            low, high = (middle, high) if self.word_error(middle).rate > wanted else (low, middle)
        return high


def rs_word_error(g: float) -> float:
    """Return how often a Reed-Solomon (255, 223) word over BPSK cannot be corrected, exactly; *g*: Eb/N0, a ratio."""
    from scipy.stats import binom

    bit = q(sqrt(2.0 * g * RS_DATA / RS_WORD))
    symbol = 1.0 - (1.0 - bit) ** 8
    return float(binom.sf(RS_CORRECTS, RS_WORD, symbol))


def _union_bound(g: float, tail: Mapping[str, Any]) -> float:
    """Return sum B_d Q(sqrt(d g)) over the code's distances d."""
    first, step = tail["least_distance"], tail["step"]
    return float(sum(b * q(sqrt((first + step * at) * g)) for at, b in enumerate(tail["bit_weights"])))


@cache
def codes() -> Mapping[str, Code]:
    """Return all codes by name."""
    found = {
        "rs-255-223": Code(
            "rs-255-223", "Reed-Solomon (255, 223)", RS_DATA / RS_WORD, RS_DATA * 8, 1, (),
            "closed form: more than 16 of 255 symbols wrong", "none: exact for BPSK and QPSK", 0.0,
        ),
    }  # fmt: skip
    for name, row in weights.read_json("codes.json").items():
        bits = row["information_bits"]
        found[name] = Code(
            name, row["title"], row["code_rate"], None if bits is None else bits * row["words_in_a_block"],
            row["words_in_a_block"], tuple((db, rate) for db, rate in row["points"]),
            row["source"], row["uncertainty"], row["uncertainty_db"], row.get("union_bound"),
        )  # fmt: skip
    return found
