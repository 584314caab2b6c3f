"""How text from outside reaches a terminal: whatever is no plain letter is spelled out, so it can do nothing there.

A file's name, a scenario, a journal, a packet or a peer may hold an escape sequence that sets the terminal's title, a
newline that makes a line look like one of farlink's own, or marks that turn the reading order round.
"""

import re
import unicodedata

# Letters that show nothing though Unicode counts them as letters or marks: fillers and the grapheme joiner.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
# Control, format (bidi and zero width), surrogate, private, unassigned; line and paragraph separators.
_UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_ORDINARY = re.compile(r"[^ -~]")


def escape(text: str, keep: str = "") -> str:
    r"""Return *text* with each character that is not to be shown as it is spelled out: `\x1b`, `\n`, `\u202e`.

    Control and format characters, bidi marks and those of zero width, lone surrogates, line separators; the characters
    of *keep* stay. What is escaped already stays as it is, so that to escape twice is to escape once.
    """
    return _ORDINARY.sub(lambda found: _spelled(found[0], keep), text)


def printable(text: str) -> str:
    """Return *text* without what cannot be written as UTF-8, as in file names of other encodings."""
    return text.encode("utf-8", "replace").decode()


def shorten(text: str, most: int = 80) -> str:
    """Return *text*, or its begin and end with how long it is where it has more than *most* letters."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}...{text[-most // 4 :]} ({len(text)} letters)"


def _spelled(character: str, keep: str) -> str:
    if character in keep:
        return character
    if character in _BLANK or unicodedata.category(character) in _UNSHOWN:
        return character.encode("unicode_escape").decode("ascii")
    return character
