"""What the live page says: every kind of event and every fate of a packet in words."""

import re
from pathlib import Path
from typing import Any

import pytest

import scenarios.live
from link.events import KINDS, Event, Fate
from scenarios.live.log import LOGGED, MOST_CHARACTERS, SENTENCES, tell

ALL = frozenset().union(*KINDS.values())
STATIC = Path(scenarios.live.__file__).parent / "static"


def test_every_kind_of_event_has_words():
    assert SENTENCES.keys() == ALL
    assert LOGGED <= ALL


@pytest.mark.parametrize("kind", sorted(ALL))
def test_words_are_a_sentence_and_no_name_of_an_event(kind):
    """Also where an event of another version lacks all its fields."""
    for fields in (
        {},
        {"reason": "the far end fell silent.", "by": "14", "name": "a.png", "sections": [True]},
    ):
        text = tell(Event(kind, 0, 12, fields))
        assert re.fullmatch(r"[A-Z][^\n]*[.!?]", text), text
        assert "_" not in text and "None" not in text and "{" not in text and ".." not in text
        assert len(text.split()) >= 2


def test_sentences_say_what_happened():
    said: list[tuple[str, int | None, dict[str, Any], str]] = [
        ("superseded", 7, {"by": 9}, "Frame 7 came and was not drawn, for frame 9, which is newer, came with it."),
        ("gave_up", 7, {}, "The sender stopped waiting to hear whether all of frame 7 had come."),
        (
            "skipped", None, {"name": "x.png", "reason": "its time had passed"},
            "A picture was left out (x.png): its time had passed.",
        ),
        ("skipped", None, {"name": "x#7", "by": "clock", "reason": "late"}, "A picture was left out: late."),
        (
            "closed", 3, {"complete": False, "sections": [True, False, True]},
            "The receiver waits no longer for frame 3: 2 of its 3 parts came.",
        ),
        ("resent", 3, {"packets": [4]}, "The sender sent 1 packet of frame 3 again."),
        ("decoded", 3, {"complete": False}, "The receiver drew frame 3, though parts of it are missing."),
        (
            "encoded", 3, {"sections": [], "reason": "over 40 bytes"},
            "The sender could not make frame 3 small enough to be sent: over 40 bytes.",
        ),
        ("from the future", 3, {}, "Something that this version does not know happened (from the future)."),
    ]  # fmt: skip
    for kind, frame, fields, text in said:
        assert tell(Event(kind, 0, frame, fields)) == text


def test_what_others_wrote_is_text_of_bounded_length():
    hostile = "{frame} \u202e\x1b[31m<b>" + 1000 * "x"
    text = tell(Event("aborted", 0, None, {"reason": hostile}))
    assert "{frame}" in text and "\u202e" not in text and "\x1b" not in text
    assert len(text) <= MOST_CHARACTERS + 1


def test_the_page_has_words_for_every_fate_of_a_packet():
    """An end that the page does not know would leave the packet on its way for ever."""
    drops = {fate.name.lower() for fate in Fate if fate.is_drop}
    ends = (STATIC / "state.js").read_text().partition("const ENDS")[2].partition("]);")[0]
    words = (STATIC / "packets.js").read_text().partition("REASONS = {")[2].partition("};")[0]
    assert set(re.findall(r'"(\w+)"', ends)) == drops | {"delivered"}
    assert set(re.findall(r"(\w+): ", words)) == drops
