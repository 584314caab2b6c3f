"""Has a live run again: the same ends, asked and answered at the times that its journal holds.

    while the run went on      answered {end, asked_ns, answered at}, changed {paths, by, at}   -> journal
    again                      journal -> the same, in virtual time

What an end computes decides nothing about when; so the second journal is the first one, byte for byte, unless an end
computes something else.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from link.conductor import ROLES, Conductor
from link.errors import UsageError
from link.inputs import Answer

RECORDED = ("answered", "changed", "marked", "finished", "aborted")
"""Kinds of event that came from outside the run's own time."""


class DivergedError(UsageError):
    """The run went another way than the first time."""

    exit_code = 1


def rerun(conductor: Conductor, answers: deque[Answer], events: Iterable[Mapping[str, Any]]) -> None:
    """Run *conductor*, whose ends hold their answers in *answers* (`link.live.LateEnd`), as *events* say.

    *events* are those of the first journal, in order; others than `RECORDED` are passed over. A journal that was cut
    short is run to where it ends. Raise DivergedError at the first record that cannot come true.
    """
    held: dict[str, Answer] = {}
    for event in events:
        if event["kind"] not in RECORDED:
            continue
        now = event["time_ns"]
        conductor.catch_up(now)
        if event["kind"] == "answered":
            end = ROLES.index(event["end"])
            asked = conductor.asked_ns(end)
            if asked != event["asked_ns"]:
                when = "not at all" if asked is None else f"at {asked} ns"
                raise DivergedError(
                    f"the {event['end']} answered at {now} ns what it was asked at {event['asked_ns']} ns; "
                    f"this time it was asked {when}"
                )
            held.update((answer.role, answer) for answer in answers)
            answers.clear()
            answer = held.pop(event["end"])
            if answer.error is not None:
                raise DivergedError(f"at {now} ns the {event['end']} failed this time: {answer.error}")
            conductor.answer(end, answer.output, now)
        elif event["kind"] == "changed":
            conductor.change({path: new for path, (_, new) in event["paths"].items()}, event["by"], now)
        elif event["kind"] == "marked":
            conductor.mark(event["text"], event["by"], now)
        else:
            conductor.now = now
            fields = {key: value for key, value in event.items() if key not in ("kind", "time_ns", "frame")}
            conductor.finish(event["kind"], **fields)
            return
