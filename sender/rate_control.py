"""Rate control: which channels, how many words, every how many frames, for the link and the task at hand.

Generative Semantic Coding (arXiv 2510.27324), Section 3.2, equation (2), chooses what to send of a picture by

    min  alpha |V(received) - V(original)| + beta B

Here V is a task's accuracy as a share of that on originals, so V(original) is 1, and B is kilobytes (1000 bytes) on
the air a camera frame, headers, repair and expected repeats included. Where every n-th frame is sent, B is an n-th
of a frame's, and V the mean over the n frames during which its picture is shown: the measured share of a fresh
picture, times how much a picture of each age still says of the present. That the two factors do not depend on each
other is an assumption; that a frame of which nothing arrives shows nothing is the convention of `scenarios.scoring`.
Light time ages all choices alike and is left out.

    table (measured), link (scenario, then feedback) -> choose -> channels, words, every

How good a setting is comes from a table (`sender.calibration`), never from the frame itself, so choosing costs
microseconds. What frames really cost and what the far end misses correct the table's bytes and the scenario's loss.
"""

from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from link.channel.path import path_loss
from link.codecs import SYNTAXES
from link.config import Session
from link.errors import UsageError
from link.models import digest
from link.packet import CHUNK_BYTES, FEC_BYTES, HASH_BYTES, MAX_PACKETS, overhead
from link.timing import SHARE, Times, body_bytes
from sender.calibration import SETTINGS, Calibration, Floats, read, table_path
from sender.codecs import ENCODERS
from sender.encoder import Quality

KILO = 1000.0
_TRUST_PACKETS, _MEMORY_PACKETS = 64.0, 512.0  # the scenario's loss weighs as much as 64 packets heard of
_TRUST_FRAMES, _MEMORY = 3.0, 0.9  # the table's bytes weigh as much as 3 frames, and 10 are remembered


@dataclass(frozen=True)
class LinkState:
    """What the link carries, as the sender knows it."""

    period_bytes: float
    """On the air in one camera period, for frames."""
    loss: float
    """Share of packets lost, before repair; 0 to 1."""
    body_bytes: int
    """What a packet holds."""
    overhead_bytes: int
    """Its header."""
    fec: float = 0.0
    """Bytes of repair packets per byte of data packets."""
    fec_frames: int = 1
    """Frames that share a repair packet at most."""
    arq_rounds: int = 0
    """How often what is missing is asked for; 0: never."""
    frame_bytes: int = 1 << 30
    """The largest payload that is allowed."""
    scale: float = 1.0
    """What frames cost, as a multiple of what the table says."""


@dataclass(frozen=True)
class Choice:
    """How the next frames are sent."""

    channels: int
    words: int
    every: int
    """Of so many camera frames one is sent."""
    share: float
    """The expected share of the accuracy on originals, the skipped frames counted in."""
    air_bytes: float
    """Expected bytes on the air a camera frame."""
    payload_bytes: float
    """Expected payload of a frame that is sent, by the table."""

    @property
    def quality(self) -> Quality:
        """What the encoder is told."""
        return Quality(self.channels, self.words)

    def summary(self) -> dict[str, float]:
        """Return what the journal says of it; expectations to six digits, which every machine agrees on."""
        return {
            "channels": self.channels,
            "words": self.words,
            "every": self.every,
            "share": float(f"{self.share:.6g}"),
            "air_bytes": float(f"{self.air_bytes:.6g}"),
        }


@dataclass(frozen=True)
class _Grid:
    """Every choice: arrays of shape (channels, words, every), those of one frame without `every`."""

    shortfall: Floats
    """|V(received) - V(original)|, the mean over the tasks."""
    share: Floats
    air: Floats
    """Bytes on the air a camera frame."""
    fits: NDArray[np.bool_]


def choose(table: Calibration, link: LinkState, alpha: float, beta: float, task: str) -> Choice:
    """Return the setting of *table* with the least alpha |V - 1| + beta B that *link* carries.

    *alpha* and *beta* are at least 0; *task* is one of the table's, or `mean`. Of settings that are as good the one
    with the fewest bytes is taken, then the one that leaves out the fewest frames. Where none fits, it is the one
    with the fewest bytes a frame, as seldom as the link needs.
    Raise UsageError for a weight below 0 or a task that was not measured.
    """
    for name, weight in (("alpha", alpha), ("beta", beta)):
        if not weight >= 0:
            raise UsageError(f"codec.{name} {weight}: expected 0 or more")
    grid = _evaluate(table, link, table.tasks(task))
    if not grid.fits.any():
        return _rarest(table, link, grid)
    cost = np.where(grid.fits, alpha * grid.shortfall + beta * grid.air / KILO, np.inf)
    every = np.broadcast_to(np.arange(cost.shape[2]), cost.shape)
    at = int(np.lexsort((every.ravel(), grid.air.ravel(), cost.ravel()))[0])
    row, column, skipped = (int(index) for index in np.unravel_index(at, cost.shape))
    return _choice(table, link, grid, row, column, skipped + 1)


def _choice(table: Calibration, link: LinkState, grid: _Grid, row: int, column: int, every: int) -> Choice:
    return Choice(
        table.channels[row],
        table.words[column],
        every,
        float(grid.share[row, column, every - 1]),
        float(grid.air[row, column, every - 1]),
        float(table.payload_bytes[row, column]),
    )


def _rarest(table: Calibration, link: LinkState, grid: _Grid) -> Choice:
    """Return the cheapest frame, sent so seldom that the link carries it; what it is worth then nobody measured."""
    row, column = (
        int(index) for index in np.unravel_index(int(grid.air[..., 0].argmin()), grid.air.shape[:2])
    )
    air = float(grid.air[row, column, 0])
    choice = _choice(table, link, grid, row, column, 1)
    measured = grid.air.shape[2]
    every = max(1, ceil(air / link.period_bytes)) if link.period_bytes > 0 else measured
    # Beyond the ages that were measured the oldest share stands for all.
    share = float(grid.share[row, column, min(every, measured) - 1])
    return replace(choice, every=every, share=share, air_bytes=air / every)


def _evaluate(table: Calibration, link: LinkState, tasks: tuple[str, ...]) -> _Grid:
    """Return what every choice is worth and what it costs."""
    payload = table.payload_bytes * link.scale
    heads = np.array(table.channels)[:, None] + (np.array(table.words) > 0)[None, :]
    heads = CHUNK_BYTES * (heads + (table.codec["order"] == "ssim")) + HASH_BYTES
    packets = np.maximum(1, np.ceil((payload + heads) / link.body_bytes))
    air = payload + heads + packets * link.overhead_bytes
    frames, spare = np.ones_like(packets), np.zeros_like(packets)
    if link.fec:
        # Frames share a block until their share pays for a repair packet, which is as long as the longest.
        longest = np.minimum((payload + heads) / packets, link.body_bytes) + link.overhead_bytes + FEC_BYTES
        frames = np.clip(np.ceil(longest / (link.fec * air)), 1, link.fec_frames)
        spare = np.maximum(1, np.floor(link.fec * air * frames / longest))
        air += np.maximum(link.fec * air, longest / link.fec_frames)
    missing = _missing((packets * frames).astype(np.int64), spare.astype(np.int64), link.loss)
    if link.arq_rounds:
        # Of what is asked for a share is lost again: a geometric series, cut at the last round.
        again = sum(link.loss**turn for turn in range(link.arq_rounds))
        air *= 1.0 + missing * again
        missing = missing * link.loss**link.arq_rounds
    counts = np.arange(1, table.ages[-1] + 2)
    shortfall, share = [], []
    for task in tasks:
        fresh = _at_loss(table, task, missing)
        decay = np.interp(np.arange(len(counts)), table.ages, table.decay[task])
        value = fresh[..., None] * (np.cumsum(decay) / counts)
        share.append(value)
        shortfall.append(np.abs(value - 1.0))
    per_frame = air[..., None] / counts
    good = (payload <= link.frame_bytes) & (packets + spare <= MAX_PACKETS)
    fits = good[..., None] & (per_frame <= link.period_bytes)
    return _Grid(np.mean(shortfall, axis=0), np.mean(share, axis=0), per_frame, fits)


def _missing(packets: NDArray[np.int64], spare: NDArray[np.int64], loss: float) -> Floats:
    """Return the share of data packets that stay lost where any *packets* of *packets* + *spare* restore all.

    Losses are taken as independent; bursts leave more to mend at a time.
    """
    chances = np.full(packets.shape, float(loss))
    for n, r in {(int(n), int(r)) for n, r in zip(packets.ravel(), spare.ravel(), strict=True) if r}:
        total = n + r
        chance = np.zeros(total + 1)  # of so many lost
        chance[0] = 1.0
        for _ in range(min(total, MAX_PACKETS)):
            chance[1:] = chance[1:] * (1.0 - loss) + chance[:-1] * loss
            chance[0] *= 1.0 - loss
        lost = np.arange(total + 1)
        chances[(packets == n) & (spare == r)] = float((chance * lost)[r + 1 :].sum() / total)
    return chances


def _at_loss(table: Calibration, task: str, loss: Floats) -> Floats:
    """Return the share of each setting at its *loss*, between the measured ones; where all is lost it is 0."""
    knots, values = np.array(table.losses), table.shares[task]
    if knots[-1] < 1.0:
        knots = np.append(knots, 1.0)
        values = np.concatenate([values, np.zeros((*values.shape[:2], 1))], axis=2)
    if len(knots) == 1:
        return values[..., 0]
    left = np.clip(np.searchsorted(knots, loss, side="right") - 1, 0, len(knots) - 2)
    part = (loss - knots[left]) / (knots[left + 1] - knots[left])
    low = np.take_along_axis(values, left[..., None], 2)[..., 0]
    high = np.take_along_axis(values, left[..., None] + 1, 2)[..., 0]
    scores: Floats = low + (high - low) * part
    return scores


def link_state(session: Session, times: Times) -> LinkState:
    """Return what the scenario says of the link. A camera without a period is taken as one frame a second."""
    link = session.link
    period_s = session.camera.period_s or 1.0
    return LinkState(
        period_bytes=SHARE * times.bottleneck_bps * period_s / 8.0,
        loss=path_loss(link),
        body_bytes=body_bytes(link),
        overhead_bytes=overhead(link.framing, link.mtu_bytes),
        fec=link.repair.fec,
        fec_frames=link.repair.fec_frames,
        arq_rounds=link.repair.arq_rounds if link.repair.arq else 0,
        frame_bytes=session.codec.frame_bytes or 1 << 30,
    )


def stamps(session: Session) -> dict[str, str]:
    """Return what tells the models of the codec's sending end from others, by part."""
    stamps_by_part = {}
    for part, where in ENCODERS[session.codec.name].models(session).items():
        large = part == "captioner" and session.codec.caption == "vlm"  # its weights take a minute to read
        stamps_by_part[part] = str(Path(where).name if large else where)
        if isinstance(where, Path) and not large:
            stamps_by_part[part] = digest(where)[:16]
    return stamps_by_part


def table_line(path: Path, line: str) -> str:
    """Return what a person is told where *line* is not as the table in *path* was measured."""
    return f"rate table {path.name}: {line}: measure it again by `farlink train rate`"


class RateControl:
    """Chooses for one run, frame by frame. What it is told decides; it draws nothing and reads no clock."""

    def __init__(
        self,
        table: Calibration,
        link: LinkState,
        weights: tuple[float, float],
        task: str,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self._table, self._link, self._task = table, link, task
        self._alpha, self._beta = weights
        self.warnings = warnings
        """What of the run is not as the table was measured."""
        self._lost, self._heard = _TRUST_PACKETS * link.loss, _TRUST_PACKETS
        self._cost, self._frames = _TRUST_FRAMES, _TRUST_FRAMES
        self._waited: int | None = None
        self._choice: Choice | None = choose(table, link, *weights, task)

    @classmethod
    def from_session(cls, session: Session, times: Times) -> "RateControl":
        """Return what controls *session*; `codec.sent_channels` and `codec.caption_words` are all that it may choose.

        Raise ModelMissingError where there is no table, UsageError where it is none of this version, of another
        profile, order or kind of caption, or lacks the task.
        """
        codec, path = session.codec, table_path(session)
        table = read(path)
        for name in SETTINGS[:3]:
            if table.codec[name] != getattr(codec, name):
                raise UsageError(
                    f"rate table {path}: measured with codec.{name} {table.codec[name]}, not {getattr(codec, name)}; "
                    "`farlink train rate` measures one, profile.rate_table names it"
                )
        warnings = tuple(table_line(path, line) for line in table.differences(codec, stamps(session)))
        words = codec.caption_words if codec.caption != "none" else 0
        rows = table.within(codec.sent_channels, words)
        return cls(rows, link_state(session, times), (codec.alpha, codec.beta), codec.task, warnings)

    @property
    def link(self) -> LinkState:
        """The link as it is known by now."""
        return replace(self._link, loss=self._lost / self._heard, scale=self._cost / self._frames)

    @property
    def choice(self) -> Choice:
        """The choice by what is known now."""
        if self._choice is None:
            self._choice = choose(self._table, self.link, self._alpha, self._beta, self._task)
        return self._choice

    def next(self) -> Choice | None:
        """Return how the camera's next frame is sent; None: it is left out."""
        choice = self.choice
        if self._waited is not None and self._waited + 1 < choice.every:
            self._waited += 1
            return None
        self._waited = 0
        return choice

    def sent(self, choice: Choice, payload_bytes: int) -> None:
        """Note what a frame's payload really came to."""
        ratio = (payload_bytes + 1.0) / (choice.payload_bytes + 1.0)  # a channel of zeros has no byte
        self._cost = _MEMORY * self._cost + ratio
        self._frames = _MEMORY * self._frames + 1.0
        self._choice = None

    def heard(self, packets: int, missing: int) -> None:
        """Note that of a frame's *packets* the far end missed *missing*; each frame is told of once."""
        kept = max(0.0, 1.0 - packets / _MEMORY_PACKETS)
        self._lost = kept * self._lost + missing
        self._heard = kept * self._heard + packets
        self._choice = None


def is_controlled(session: Session) -> bool:
    """Return whether the session's codec is controlled by the task."""
    return SYNTAXES[session.codec.name].facts.adjustable and session.codec.rate_control == "task"
