"""The table that rate control chooses by: what each setting costs, and what it keeps of each task's accuracy.

`farlink train rate` measures it, the sender reads it. It is a JSON object of one version:

    format, version     what the file is
    codec               profile, order, caption, steps, guidance, control_scale that it was measured with
    measured            source, frames, seed, width, height, mtu_bytes
    models              {name: stamp} of the models it was measured with
    channels, words     the settings, ascending; words [0]: no captions
    losses, ages        shares of packets lost (the first is 0), ages in camera frames (the first is 0)
    bytes               [channels][words]          mean payload of a frame
    shares              {task: [channels][words][losses]}  V(received) / V(original)
    decay               {task: [ages]}             V(picture that old, for the present) / V(original)

V is a task's first score (mIoU, delta1, mAP50-95, as `scenarios.scoring` names them) over all frames measured.
Without pictures that follow each other `ages` is [0]: nothing is known of skipping.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from link.codecs import gsc
from link.config import Codec, Session
from link.errors import ModelMissingError, UsageError
from link.models import place
from sender.folders import WEIGHTS

FORMAT, VERSION = "farlink rate table", 1
FILE = "rate.json"
MAX_BYTES = 1 << 20
SETTINGS = ("profile", "order", "caption", "steps", "guidance", "control_scale")
"""Settings of the codec that a table is measured with; the first three decide what a byte holds."""
_MOST_SHARE = 100.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """A table as measured. The shape of each array is given in the module's docstring."""

    codec: Mapping[str, Any]
    measured: Mapping[str, Any]
    models: Mapping[str, str]
    channels: tuple[int, ...]
    words: tuple[int, ...]
    losses: tuple[float, ...]
    ages: tuple[int, ...]
    payload_bytes: Floats
    shares: Mapping[str, Floats]
    decay: Mapping[str, Floats]

    def __post_init__(self) -> None:
        """Raise ValueError, saying which field is not as it should be."""
        for name, axis in (
            ("channels", self.channels),
            ("words", self.words),
            ("losses", self.losses),
            ("ages", self.ages),
        ):
            if not axis or list(axis) != sorted(set(axis)) or axis[0] < 0:
                raise ValueError(f"{name}: expected numbers in ascending order, none negative")
        if self.losses[0] != 0 or self.losses[-1] > 1 or self.ages[0] != 0:
            raise ValueError("losses and ages: expected shares from 0 to 1 and frames, both beginning with 0")
        if not self.shares or set(self.shares) != set(self.decay):
            raise ValueError("shares and decay: expected the same tasks in both, at least one")
        grid = (len(self.channels), len(self.words))
        arrays: list[tuple[str, Floats, tuple[int, ...], float]] = [
            ("bytes", self.payload_bytes, grid, np.inf)
        ]
        for task in self.shares:
            arrays.append((f"shares.{task}", self.shares[task], (*grid, len(self.losses)), _MOST_SHARE))
            arrays.append((f"decay.{task}", self.decay[task], (len(self.ages),), _MOST_SHARE))
        for name, array, shape, most in arrays:
            if array.shape != shape:
                raise ValueError(f"{name}: expected {shape} numbers, got {array.shape}")
            if not np.isfinite(array).all() or (array < 0).any() or (array > most).any():
                raise ValueError(f"{name}: expected finite numbers, none negative")

    def within(self, channels: int, words: int) -> "Calibration":
        """Return the rows of at most *channels* channels and *words* words.

        Raise UsageError where there are none.
        """
        rows = [at for at, count in enumerate(self.channels) if count <= channels]
        columns = [at for at, count in enumerate(self.words) if count <= words]
        for name, given, kept, axis in (
            ("channels", channels, rows, self.channels),
            ("caption_words", words, columns, self.words),
        ):
            if not kept:
                raise UsageError(f"codec.{name} {given}: the rate table begins with {axis[0]}")
        return replace(
            self,
            channels=tuple(self.channels[at] for at in rows),
            words=tuple(self.words[at] for at in columns),
            payload_bytes=self.payload_bytes[np.ix_(rows, columns)],
            shares={task: values[np.ix_(rows, columns)] for task, values in self.shares.items()},
        )

    def section_gains(self, task: str) -> tuple[float, Floats]:
        """Return what a caption adds to the share of *task*, and what each channel does, the first of them first.

        Without loss, with the most words; between measured numbers of channels they are alike. Raise UsageError as
        `tasks` does.
        """
        names = self.tasks(task)
        whole = np.mean(
            [self.shares[name][:, -1, 0] / max(1e-9, self.shares[name][:, -1, 0].max()) for name in names], 0
        )
        whole = np.maximum.accumulate(whole)
        counts = np.arange(self.channels[0], self.channels[-1] + 1)
        gained = np.diff(np.interp(counts, self.channels, whole))
        return float(whole[0]), np.concatenate([np.zeros(self.channels[0]), gained])

    def tasks(self, task: str) -> tuple[str, ...]:
        """Return the tasks that *task* names, all of them for `mean`. Raise UsageError for one not measured."""
        if task == "mean":
            return tuple(sorted(self.shares))
        if task not in self.shares:
            raise UsageError(f"codec.task {task}: the rate table has {', '.join(sorted(self.shares))}")
        return (task,)

    def differences(self, codec: Codec, models: Mapping[str, str]) -> list[str]:
        """Return a line for each setting of *codec* and each of *models* that is not as measured."""
        lines = [
            f"codec.{name} is {getattr(codec, name)}, the table has {self.codec[name]}"
            for name in SETTINGS[3:]
            if getattr(codec, name) != self.codec[name]
        ]
        return lines + self.model_differences(models)

    def model_differences(self, models: Mapping[str, str]) -> list[str]:
        """Return a line for each of *models* that is not the one measured with.

        Models that only one side names are left out: an end knows its own.
        """
        return [
            f"the {name} model is {models[name]}, the table has {self.models[name]}"
            for name in sorted(models.keys() & self.models.keys())
            if models[name] != self.models[name]
        ]

    def to_json(self) -> str:
        """Return the file's text, numbers to six digits."""
        tree = {
            "format": FORMAT,
            "version": VERSION,
            "codec": dict(self.codec),
            "measured": dict(self.measured),
            "models": dict(sorted(self.models.items())),
            "channels": self.channels,
            "words": self.words,
            "losses": self.losses,
            "ages": self.ages,
            "bytes": _rounded(self.payload_bytes),
            "shares": {task: _rounded(self.shares[task]) for task in sorted(self.shares)},
            "decay": {task: _rounded(self.decay[task]) for task in sorted(self.decay)},
        }
        rows = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in tree.items())
        return f"{{\n{rows}\n}}\n"


def from_json(text: str) -> Calibration:
    """Return the table in *text*, the inverse of `Calibration.to_json`. Raise ValueError where it holds none."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON, or cut short: {error}") from None
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise ValueError(f"not a {FORMAT}")
    if tree.get("version") != VERSION:
        raise ValueError(f"version {tree.get('version')!r}; this farlink reads {VERSION}")
    try:
        codec = {name: tree["codec"][name] for name in SETTINGS}
        return Calibration(
            codec=codec,
            measured=dict(tree["measured"]),
            models={str(name): str(stamp) for name, stamp in tree["models"].items()},
            channels=tuple(int(count) for count in tree["channels"]),
            words=tuple(int(count) for count in tree["words"]),
            losses=tuple(float(loss) for loss in tree["losses"]),
            ages=tuple(int(age) for age in tree["ages"]),
            payload_bytes=np.asarray(tree["bytes"], np.float64),
            shares={str(task): np.asarray(v, np.float64) for task, v in tree["shares"].items()},
            decay={str(task): np.asarray(v, np.float64) for task, v in tree["decay"].items()},
        )
    except KeyError as error:
        raise ValueError(f"the field {error} is missing") from None
    except (TypeError, AttributeError):
        raise ValueError("a field is of another kind than expected") from None


def read(path: Path) -> Calibration:
    """Return the table in the file *path*.

    Raise ModelMissingError where there is no such file, UsageError where it is no table of this version.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ModelMissingError(
            f"rate table {path}: {error.strerror}; `farlink train rate` measures one, profile.rate_table names it"
        ) from None
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"over {MAX_BYTES} bytes")
        return from_json(data.decode())
    except ValueError as error:  # UnicodeDecodeError is one
        raise UsageError(f"rate table {path}: {error}") from None


def section_worths(codec: Codec, table: Calibration, sections: int) -> tuple[float, ...]:
    """Return what each of a frame's *sections* of GSC adds to its quality by *table*, for `codec.task`.

    What a caption alone would show counts for the first channel, which shows it as well: a frame whose caption
    was lost is hardly worse for it, one without its first channel is another picture. Raise UsageError as
    `Calibration.tasks` does.
    """
    caption, channels = table.section_gains(codec.task)
    head = [caption] if gsc.has_caption(codec) else []
    if gsc.has_ids(codec):
        head.append(0.0)
    count = max(0, sections - len(head))
    more = [float(gain) for gain in channels[:count]]
    if head and more:
        head[0], more[0] = 0.0, caption + more[0]
    return (*head, *more, *(0.0 for _ in range(count - len(more))))[:sections]


def _rounded(array: Floats) -> Any:
    if array.ndim:
        return [_rounded(row) for row in array]
    return float(f"{float(array):.6g}")


def table_path(session: Session) -> Path:
    """Return where the session's table lies: `profile.rate_table`, else the bundle's, or the profile's."""
    own, bundle = session.profile.rate_table, session.profile.bundle
    return place(session.codec.profile, FILE, own, WEIGHTS / "tiny" / FILE, bundle)
