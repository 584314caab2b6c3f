"""The link's process: `python -m link`, told its session on standard input.

It holds the clock, the channel and the journal.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from link import live
from link.channel.rate import read_trace
from link.conductor import Conductor
from link.config import Session
from link.entry import end_with
from link.errors import FarlinkError, PartialError, StorageError
from link.events import Event
from link.fingerprint import fingerprint
from link.inputs import Answer, Change, Note, Timing
from link.journal import Journal
from link.relay import Hub
from link.stdin import take_stdin
from link.tap import Tap, pack_news
from link.timing import times

_TICK_S = 0.1  # between two messages to pages


def serve(
    session: Session,
    head: dict[str, Any],
    journal_path: Path,
    address: str,
    *,
    factor: float | None = None,
    curve: Path | None = None,
    token: str = "",
    orders: IO[bytes] | None = None,
    wait_s: float = 60.0,
    keep_bytes: int | None = None,
    tell: Callable[[dict[str, Any]], None] = lambda _record: None,
) -> dict[str, float]:
    """Run one session for a sender and a receiver that come to *address*; return the timings.

    *factor* None: virtual time in lockstep; otherwise wall-clock time, so many run seconds a second. Both ends have
    *wait_s* seconds to connect, and then `session.profile.load_s` to load. *tell* is given the address, what is
    waited for (`waiting`, with a `reason`) and each event. Once both are ready, the journal at *journal_path* is
    begun, and finished whatever happens; of one longer than *keep_bytes* the end is kept. The end of *orders*, a pipe,
    or a line on it, asks us to stop.
    Raise FarlinkError with the exit code that fits.
    """
    traces = {hop.name: read_trace(Path(hop.trace)) for hop in session.link.hops if hop.trace is not None}
    hub = Hub(
        address, session, times(session, traces), fingerprint(session),
        curve=curve, token=token, orders=orders,
    )  # fmt: skip
    failure: FarlinkError | None = None
    try:
        tell({"kind": "listening", "address": hub.address})
        hub.meet(wait_s, session.profile.load_s, lambda line: tell({"kind": "waiting", "reason": line}))
        with Journal(journal_path, _with_source(head, hub.source), keep_bytes) as journal:
            ends = hub.remote("sender"), hub.remote("receiver")

            def progress(event: Event) -> None:
                tell({"kind": event.kind, "frame": event.frame, "time_ns": event.time_ns, **_short(event)})

            tap = Tap(journal)
            conductor = Conductor(session, traces, *ends, tap, progress)
            try:
                if factor is None:
                    conductor.run()
                else:
                    for end in ends:
                        end.wait = False
                    pace = live.Pace(time.monotonic, factor)
                    live.run(conductor, pace, _with_pages(hub, tap, conductor, pace))
            except StorageError:
                raise
            except (FarlinkError, KeyboardInterrupt) as error:
                conductor.finish("aborted", reason=str(error) or "interrupted")
                raise
            return conductor.timings
    except FarlinkError as error:
        failure = error
        raise
    except KeyboardInterrupt:
        failure = PartialError("the link was interrupted")
        failure.exit_code = 130
        raise failure from None
    finally:
        hub.close(failure)


def _with_pages(hub: Hub, tap: Tap, conductor: Conductor, pace: live.Pace) -> live.Receive:
    """Return what waits for the next answer or wish, and tells pages the news meanwhile, ten times a second."""
    told_s = time.monotonic()

    def receive(seconds: float) -> Answer | Change | Note | Timing | None:
        nonlocal told_s
        tap.listen(len(hub.pages) > 0)
        if hub.pages:
            rest_s = told_s + _TICK_S - time.monotonic()
            if rest_s <= 0.0:
                told_s = time.monotonic()
                rest_s = _TICK_S
                jumping = None if pace.jumping is None else pace.jumping.value
                news = tap.take(pace.now_ns(conductor.now), pace.factor, pace.paused, jumping)
                hub.pages.broadcast(pack_news(news))
            seconds = min(seconds, rest_s)
        return hub.receive(seconds)

    return receive


def _with_source(head: dict[str, Any], source: str | None) -> dict[str, Any]:
    """Return *head* with the camera that the sender really has, where it told."""
    if source is None or "scenario" not in head:
        return head
    scenario = head["scenario"]
    return {**head, "scenario": {**scenario, "camera": {**scenario["camera"], "source": source}}}


def _short(event: Event) -> dict[str, Any]:
    return {key: event.fields[key] for key in ("name", "reason", "complete") if key in event.fields}


def main(argv: list[str] | None = None) -> int:
    """Serve the session in the first line of standard input, telling progress on stdout, a JSON object a line.

    That line is a JSON object of session, head and the password that the ends know. With --supervised the run stops
    at the end of standard input.
    """
    parser = argparse.ArgumentParser(prog="python -m link", description=__doc__)
    parser.add_argument("--journal", required=True, type=Path)
    parser.add_argument("--timings", required=True, type=Path)
    parser.add_argument("--bind", default="tcp://127.0.0.1:0")
    parser.add_argument("--realtime", type=float, default=None, metavar="FACTOR")
    parser.add_argument("--keep", type=int, default=None, metavar="BYTES")
    parser.add_argument("--supervised", action="store_true", help="stop at the end of standard input")
    options = parser.parse_args(argv)

    def tell(record: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()

    orders = take_stdin()

    def work() -> None:
        line = b"" if orders is None else orders.readline()
        if not line.endswith(b"\n"):
            raise PartialError("the run ended before the link was told its session")
        plan = json.loads(line)
        timings = serve(
            Session.model_validate(plan["session"]), plan["head"], options.journal, options.bind,
            factor=options.realtime, token=plan["token"], keep_bytes=options.keep, tell=tell,
            orders=orders if options.supervised else None,
        )  # fmt: skip
        try:
            options.timings.write_text(json.dumps(timings))
        except OSError as error:
            raise StorageError(f"cannot write {options.timings}: {error.strerror}") from error

    return end_with(work, "link")


if __name__ == "__main__":
    sys.exit(main())
