"""The page's log: what happened, a sentence each, for somebody who has not heard of farlink before.

`SENTENCES` has words for every kind of event that a journal may hold (`link.events.KINDS`, link/README.md).
"""

from collections.abc import Callable, Mapping
from typing import Any

from link.events import Event
from scenarios.words import plain

MOST_CHARACTERS = 300
_TASKS = {
    "segmentation": "what each part of it is",
    "depth": "how far things are",
    "detection": "which things are in it",
}
_Words = Callable[[Mapping[str, Any], str], str]
"""Of an event's fields, and of what its frame is called."""


def _count(things: Any, one: str) -> str:
    number = len(things) if isinstance(things, list | tuple) else 0
    return f"{number} {one}{'' if number == 1 else 's'}"


def _because(fields: Mapping[str, Any]) -> str:
    """Return the reason that an event gives, to stand at the end of a sentence."""
    reason = str(fields.get("reason") or "").strip().rstrip(".")
    return f": {reason}" if reason else ""


def _named(fields: Mapping[str, Any]) -> str:
    """Return which picture could not be read; of one that was left out on purpose (`by`) that is no news."""
    name = "" if "by" in fields else str(fields.get("name") or "").strip()
    return f" ({name})" if name else ""


def _newer(fields: Mapping[str, Any]) -> str:
    return f"frame {fields['by']}, which is newer," if "by" in fields else "a newer one"


def _closed(fields: Mapping[str, Any], frame: str) -> str:
    had = fields.get("sections") or ()
    if fields.get("complete"):
        return f"The receiver has all of {frame}"
    return f"The receiver waits no longer for {frame}: {sum(map(bool, had))} of its {len(had)} parts came"


def _decoded(fields: Mapping[str, Any], frame: str) -> str:
    if fields.get("refines"):
        return f"The receiver drew {frame} again, with more of its parts"
    return f"The receiver drew {frame}" + (
        "" if fields.get("complete") else ", though parts of it are missing"
    )


def _encoded(fields: Mapping[str, Any], frame: str) -> str:
    sections = fields.get("sections")
    if not sections:
        return f"The sender could not make {frame} small enough to be sent{_because(fields)}"
    return f"The sender made {sum(sections)} bytes of {frame}"


SENTENCES: Mapping[str, str | _Words] = {
    "captured": "The camera took {frame}",
    "skipped": lambda fields, frame: f"A picture was left out{_named(fields)}{_because(fields)}",
    "warned": lambda fields, frame: str(fields.get("reason") or "Something went wrong, and nobody said what"),
    "encoded": _encoded,
    "resent": lambda fields, frame: (
        f"The sender sent {_count(fields.get('packets'), 'packet')} of {frame} again"
    ),
    "gave_up": "The sender stopped waiting to hear whether all of {frame} had come",
    "acknowledged": "The sender heard that all of {frame} had come",
    "exhausted": "The camera has no more pictures",
    "nak": "The receiver asked for the missing packets of {frame}",
    "ack": "The receiver told the sender that it has all of {frame}",
    "damaged": "All packets of {frame} came, but they are not what was sent: the receiver threw them away",
    "closed": _closed,
    "decoded": _decoded,
    "superseded": lambda fields, frame: f"{frame} came and was not drawn, for {_newer(fields)} came with it",
    "found": lambda fields, frame: (
        f"A model looked at {frame} and said {_TASKS.get(str(fields.get('task')), 'what it saw')}"
    ),
    "not_found": lambda fields, frame: f"Nothing was found in {frame}{_because(fields)}",
    "finished": "The run has come to its end",
    "aborted": lambda fields, frame: f"The run ended early{_because(fields)}",
    "changed": lambda fields, frame: f"The session was changed by {fields.get('by') or 'somebody'}",
    "marked": lambda fields, frame: (
        f"Noted by {fields.get('by') or 'somebody'}: {fields.get('text') or 'nothing'}"
    ),
    "answered": lambda fields, frame: f"The {fields.get('end') or 'end'} answered the link",
}
"""A sentence for each kind of event, without its full stop; `{frame}` stands for its frame."""

LOGGED = frozenset(
    {"warned", "skipped", "aborted", "finished", "gave_up", "not_found", "superseded", "damaged", "exhausted"}
)
"""What the log shows: the rest is seen elsewhere on the page, for every frame."""


def tell(event: Event) -> str:
    """Return what happened as a sentence."""
    words = SENTENCES.get(event.kind)
    if words is None:  # of a journal of another version
        words = f"Something that this version does not know happened ({event.kind})"
    frame = "a frame" if event.frame is None else f"frame {event.frame}"
    text = words.replace("{frame}", frame) if isinstance(words, str) else words(event.fields, frame)
    text = str(plain(text[:1].upper() + text[1:]))[:MOST_CHARACTERS]
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."
