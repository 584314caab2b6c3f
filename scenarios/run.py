"""One run: three processes or one, then the figures, the table and the report from the journal alone."""

import contextlib
import errno
import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from link.channel.rate import MOST_BYTES, Trace, read_trace
from link.codecs import SYNTAXES
from link.end import End
from link.errors import FarlinkError, FingerprintError, PartialError, StorageError, UsageError
from link.events import Event
from link.files import brief, read_within
from link.fingerprint import fingerprint
from link.hops import Link
from link.inputs import Answer
from link.packet import VERSION
from link.segments import segments
from link.timing import times
from scenarios import document, schema
from scenarios.models.rate_table import find_stale_models
from scenarios.results.folder import LOCK, locked, make_new
from scenarios.schema import Scenario

Progress = Callable[[dict[str, Any]], None]
# What a journal's bytes depend on, besides scenario and seed.
_LIBRARIES = ("numpy", "pillow", "simpy", "raptorq", "mcap", "av")


@dataclass(frozen=True)
class Ends:
    """What stands in for the parts that the ends of a run in one process would make for themselves; None: nothing.

    Sweeps put caches in their place. What they return must be what the parts themselves would.
    """

    shots: Any = None
    """An iterator like that of `sender.camera.open_source`."""
    encoder: Any = None
    decoder: Any = None
    analyst: Any = None


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    metrics: dict[str, Any]
    """The object of `farlink run --json`."""
    error: FarlinkError | None
    """What cut the run short; None: it came to its end."""

    @property
    def exit_code(self) -> int:
        """The code of the command line."""
        return self.error.exit_code if self.error else 0


@cache
def libraries() -> dict[str, str]:
    """Return the versions that a journal depends on."""
    versions = {"wire": str(VERSION)}
    for name in ("farlink", *_LIBRARIES):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def head(scenario: Scenario) -> dict[str, Any]:
    """Return the journal's first record."""
    versions = dict(libraries())
    tree = scenario.model_dump(mode="json", by_alias=True)
    for hop in tree["link"]["hops"]:
        if hop["trace"] is not None:
            # What is in it counts, not where this machine keeps it.
            digest = hashlib.sha256(Path(hop["trace"]).read_bytes()).hexdigest()
            hop["trace"], versions[f"trace {hop['name']}"] = Path(hop["trace"]).name, digest
    width, height = SYNTAXES[scenario.codec.name].coded_size(scenario)
    return {
        "scenario": tree,
        "coded_size": {"width": width, "height": height},
        "seed": scenario.seed,
        "versions": versions,
        "fingerprint": fingerprint(scenario),
    }


def check_fingerprint(scenario: Scenario, head: Mapping[str, Any]) -> None:
    """Raise FarlinkError, exit code 5, unless this machine's tables and weights are those that *head* names."""
    own, other = fingerprint(scenario), head.get("fingerprint")
    if own != other:
        error = FarlinkError(
            f"the journal was made with the fingerprint {other}, this machine has {own}; "
            "the same farlink version, codec and weights are needed to run it again"
        )
        error.exit_code = FingerprintError.exit_code
        raise error


def check_source(scenario: Scenario) -> None:
    """Open the scenario's source and close it again, and its truth where it is to be analysed.

    Raise UsageError where one of them cannot be opened.
    """
    from sender.camera import is_live, open_source

    if scenario.analysis:
        from scenarios.truth.senders import open_truths

        open_truths(scenario.model_dump(by_alias=True, include={"camera", "senders"}), scenario.seed)
    for place in range(len(scenario.origins)):
        camera, seed = scenario.camera_of(place)
        if not is_live(camera.source):  # a camera may not bear being opened twice at once
            open_source(camera, seed=seed)


_MADE = ("run.mcap", "report.html", "results.parquet", "summary.json", "timings.json", "scenario.yaml")
"""What a run makes, besides figures."""


@contextlib.contextmanager
def claim(out: Path | None, scenario: Scenario, *, overwrite: bool = False) -> Iterator[Path]:
    """Give the run's folder, as `prepare` makes it, and hold it: no other run writes there meanwhile.

    A folder that nothing is put into is removed again.

    Raise UsageError where another one is at work in *out*, and as `prepare` does.
    """
    folder = make_new(Path("runs") / scenario.name) if out is None else out
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; --out names a folder")
    with locked(folder):
        made = prepare(folder, scenario, overwrite=overwrite)
        try:
            yield made
        finally:
            _discard(made)


def prepare(out: Path, scenario: Scenario, *, overwrite: bool = False) -> Path:
    """Return the folder *out*, made, with nothing in it but the scenario.

    Raise UsageError where *out* holds something: an earlier run is replaced only where *overwrite* says so.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; --out names a folder")
    try:
        held = {path.name for path in out.iterdir()} - {LOCK} if out.is_dir() else set()
        if held and "scenario.yaml" not in held:
            raise UsageError(f"{out} is not empty and holds no earlier run; give another --out")
        if held and not overwrite:
            raise UsageError(f"{out} holds an earlier run; give another --out, or --overwrite to replace it")
        out.mkdir(parents=True, exist_ok=True)
        for path in (*(out / name for name in _MADE), *segments(out)):
            path.unlink(missing_ok=True)
        (out / "scenario.yaml").write_text(schema.to_yaml(scenario), "utf-8")
    except OSError as error:
        raise StorageError(f"cannot write to {out}: {error.strerror}") from error
    return out


def note_source(out: Path, scenario: Scenario) -> None:
    """Write the source that the sender really had into *out*/scenario.yaml, so that it runs again to the same."""
    from scenarios.results.stored import open_run

    source = open_run(out / "run.mcap", pictures=False).head["scenario"]["camera"]["source"]
    if source != scenario.camera.source:
        camera = scenario.camera.model_copy(update={"source": source})
        scenario = scenario.model_copy(update={"camera": camera})
        (out / "scenario.yaml").write_text(schema.to_yaml(scenario), "utf-8")


def execute(
    scenario: Scenario,
    out: Path,
    *,
    transport: Literal["inproc", "zmq"] = "zmq",
    factor: float | None = None,
    progress: Progress = lambda _record: None,
    ends: Ends | None = None,
) -> FarlinkError | None:
    """Run *scenario* into the journal *out*/run.mcap; return what cut it short, if anything did.

    *ends* is for `inproc` alone.

    Raise UsageError where it could not even begin.
    """
    if factor is not None and scenario.senders:
        raise UsageError("senders: not against the wall clock (--realtime)")
    if factor is not None and not scenario.live:
        scenario = scenario.model_copy(update={"live": True})
    for line in find_stale_models(scenario):
        progress({"kind": "warned", "frame": None, "time_ns": 0, "reason": line})
    try:
        if transport == "inproc":
            _inproc(scenario, out, factor, progress, ends or Ends())
        else:
            # Processes are for running; the parent needs none of what they load.
            from scenarios.processes import Processes

            Processes(out, scenario.session(), head(scenario), factor).watch(progress)
    except FarlinkError as error:
        if error.exit_code == UsageError.exit_code:
            _discard(out)
            raise UsageError(str(error)) from None
        return error
    except KeyboardInterrupt:
        interrupted = PartialError("interrupted")
        interrupted.exit_code = 130
        return interrupted
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # of a model, which is no fault of the disk
            _discard(out)
            raise UsageError(f"{brief(error.filename)}: {error.strerror}") from None
        return StorageError(f"cannot write to {out}: {error.strerror}")
    return None


def _discard(out: Path) -> None:
    """Remove what `prepare` made, where that is all: the run never began."""
    left = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if left <= {"scenario.yaml", LOCK}:
        for name in left:
            (out / name).unlink()
        with contextlib.suppress(OSError):
            out.rmdir()


def _inproc(scenario: Scenario, out: Path, factor: float | None, progress: Progress, ends: Ends) -> None:
    from link import journal, live
    from link.conductor import ROLES, Conductor
    from receiver.__main__ import build as build_receiver
    from sender.__main__ import build as build_sender

    session = scenario.session()
    traces = schema.traces(session)
    waits = times(session, traces)
    sender, _ = build_sender(session, waits, shots=ends.shots, encoder=ends.encoder)
    receiver, _ = build_receiver(session, waits, decoder=ends.decoder, analyst=ends.analyst)

    def tell(event: Event) -> None:
        progress({"kind": event.kind, "frame": event.frame, "time_ns": event.time_ns, **event.fields})

    answers: deque[Answer] = deque()
    parties: tuple[End, End] = (sender, receiver)
    if factor is not None:
        parties = (live.LateEnd(ROLES[0], sender, answers), live.LateEnd(ROLES[1], receiver, answers))

    def receive(seconds: float) -> Answer | None:
        if answers:
            return answers.popleft()
        time.sleep(seconds)
        return None

    with journal.Journal(out / "run.mcap", head(scenario)) as book:
        conductor = Conductor(session, traces, *parties, book, tell)
        try:
            if factor is None:
                conductor.run()
            else:
                live.run(conductor, live.Pace(time.monotonic, factor), receive)
        except StorageError:
            raise
        except (FarlinkError, KeyboardInterrupt) as error:
            conductor.finish("aborted", reason=str(error) or "interrupted")
            raise
    (out / "timings.json").write_text(json.dumps(conductor.timings))


def measure(out: Path, wall_s: float | None) -> dict[str, Any]:
    """Write figures, table and report of the journal in *out*; return the metrics.

    Raise UsageError where there is no readable journal, StorageError where the disk is full.
    """
    from link import journal
    from scenarios.report import page as report
    from scenarios.results import cell as results
    from scenarios.results import verdict
    from scenarios.results.judge import Judge
    from scenarios.results.stored import open_run
    from scenarios.results.table import write_rows

    path = out / "run.mcap"
    if not path.is_file():
        raise UsageError(f"{out}: no run is there (run.mcap is missing)")
    stored = open_run(out)  # all segments of it
    judge = Judge(stored)
    result = results.make(
        stored, lambda _run: judge.judged(), lambda link: known_traces(stored.head, link, out)
    )
    figures = result.figures
    figures["verdict"] = verdict.reach(result, judge.look if result.judged.stats else None)
    spent = dict.fromkeys(("encode_s", "decode_s", "analyse_s"))
    figures["speed"] |= {**spent, "wall_s": wall_s, **_timings(out)}
    failed = results.why_failed(stored)
    figures["cell"] = {"status": "failed" if failed else "done", "error": failed, **result.cell}
    figures |= {"journal": str(path), "digest": journal.digests(stored), "report": str(out / "report.html")}
    try:
        write_rows(results.frames(result), results.frame_columns(), out / "results.parquet")
        report.write(result, out, judge.sights)
        (out / "summary.json").write_text(json.dumps(figures, indent=1))
    except OSError as error:
        raise StorageError(f"cannot write to {out}: {error.strerror}") from error
    return figures


def known_traces(head: Mapping[str, Any], link: Link, out: Path) -> dict[str, Trace]:
    """Return the trace of each hop of *link* that has one: that which the run had, if it is still to be found.

    A journal holds a trace's name and SHA-256 alone; *out*/scenario.yaml may say where it lies.
    Raise UsageError where none with that sum is at hand.
    """
    traces: dict[str, Trace] = {}
    for hop in link.hops:
        if hop.trace is None:
            continue
        places = [Path(hop.trace), schema.shipped_trace(hop.trace), *_trace_places(out, hop.name)]
        wanted = head.get("versions", {}).get(f"trace {hop.name}")
        for place in places:
            with contextlib.suppress(UsageError):
                if hashlib.sha256(read_within(place, MOST_BYTES)).hexdigest() == wanted:
                    traces[hop.name] = read_trace(place)
                    break
        else:
            raise UsageError(
                f"the trace {hop.trace} of hop {hop.name} is not at hand, so its rate is not known"
            )
    return traces


def _trace_places(out: Path, name: str) -> list[Path]:
    try:
        tree = document.read(out / "scenario.yaml")
        return [
            Path(hop["trace"]) for hop in tree["link"]["hops"] if hop["name"] == name and hop.get("trace")
        ]
    except (OSError, UsageError, KeyError, TypeError):
        return []


def _timings(out: Path) -> dict[str, Any]:
    """Return the wall-clock seconds that the ends spent, where they are known."""
    try:
        timings: dict[str, Any] = json.loads((out / "timings.json").read_text())
    except (OSError, ValueError):
        return {}
    return timings


def run(
    scenario: Scenario,
    out: Path,
    *,
    transport: Literal["inproc", "zmq"] = "zmq",
    factor: float | None = None,
    progress: Progress = lambda _record: None,
) -> Outcome:
    """Run and measure. Raise FarlinkError only where there is nothing to measure."""
    started = time.perf_counter()
    error = execute(scenario, out, transport=transport, factor=factor, progress=progress)
    wall_s = time.perf_counter() - started
    with contextlib.suppress(OSError, ValueError):
        path = out / "timings.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "wall_s": wall_s}))
    progress({"kind": "measuring", "frame": None, "time_ns": 0})
    try:
        metrics = measure(out, wall_s)
    except (StorageError, UsageError) as failure:
        raise (error or failure) from None
    return Outcome(metrics, error)
