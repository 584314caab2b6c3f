"""A session in Rerun: `--rerun` opens its viewer, `--rerun FILE.rrd` writes a file for it. Needs farlink[rerun].

The journal's topics are entities; times are the run's own, on the timeline `run`; pictures are JPEG. Of packets it is
told how many had which fate.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from link.annotations import SHOWN
from link.errors import UsageError
from link.events import Fate
from scenarios.live.sinks import Batch, Sink, picture_file, topic_of


class RerunSink(Sink):
    """Logs to *path*, an .rrd file; None: to a viewer that is started for it."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self._path = path
        self._counts: Counter[int] = Counter()
        self._stream: Any = None

    def open(self) -> str:
        """See `Sink.open`."""
        try:
            import rerun
        except ImportError:
            raise UsageError("--rerun needs an extra: pip install 'farlink[rerun]'") from None
        self._library = rerun
        self._stream = rerun.RecordingStream("farlink")
        try:
            if self._path is None:
                self._stream.spawn()
            else:
                self._stream.save(self._path)
        except Exception as error:  # the library's own
            where = "its viewer cannot be started" if self._path is None else f"cannot write {self._path}"
            raise UsageError(f"--rerun: {where}: {error}") from None
        return "Rerun: its viewer" if self._path is None else f"Rerun: {self._path}"

    def close(self) -> None:
        """See `Sink.close`."""
        super().close()
        if self._stream is not None:
            self._stream.flush(blocking=True)
            self._stream.disconnect()
            self._stream = None

    def publish(self, batch: Batch) -> None:
        """See `Sink.publish`."""
        library, stream = self._library, self._stream
        if batch.fresh:
            self._counts.clear()
        scenario = batch.head.get("scenario", {})
        self._at(batch.now_ns)
        if batch.fresh or not self._counts:
            title = f"{scenario.get('name')}: {scenario.get('codec', {}).get('name')}"
            stream.log("scenario", library.TextDocument(title))
        self._counts.update(int(row[2]) for row in batch.rows)
        for fate in sorted({int(row[2]) for row in batch.rows}):
            stream.log(f"packets/{Fate(fate).name.lower()}", library.Scalars(float(self._counts[fate])))
        for event in batch.events:
            self._at(event.time_ns)
            of = "" if event.frame is None else f" frame {event.frame}"
            stream.log("events", library.TextLog(f"{event.kind}{of}"))
            if event.kind == "found" and "boxes" in event.fields:
                self._log_boxes(topic_of(event), event.fields)
        for topic, event in batch.pictures.items():
            self._at(event.time_ns)
            form, shown = picture_file(topic, event.picture or b"")
            stream.log(topic.strip("/"), library.EncodedImage(contents=shown, media_type=f"image/{form}"))

    def _at(self, time_ns: int) -> None:
        self._stream.set_time("run", duration=time_ns / 1e9)

    def _log_boxes(self, topic: str, fields: dict[str, Any]) -> None:
        drawn = [at for at, score in enumerate(fields["scores"]) if score >= SHOWN]
        corners = [fields["boxes"][at] for at in drawn]
        labels = [f"{fields['names'][fields['kinds'][at]]} {fields['scores'][at]:.2f}" for at in drawn]
        sizes = [[right - left, bottom - top] for left, top, right, bottom in corners]
        mins = [[left, top] for left, top, _, _ in corners]
        self._stream.log(topic.strip("/"), self._library.Boxes2D(mins=mins, sizes=sizes, labels=labels))
