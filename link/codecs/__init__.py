"""What each codec sends: the syntax that both ends share. One table, no registration by import."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from link.codecs.syntax import PayloadSyntax


def _gsc() -> "PayloadSyntax":
    from link.codecs.gsc import GscSyntax

    return GscSyntax()


def _classical(name: str) -> Callable[[], "PayloadSyntax"]:
    def make() -> "PayloadSyntax":
        from link.codecs.classical import syntax

        return syntax(name)

    return make


def _findings() -> "PayloadSyntax":
    from link.codecs.findings import FindingsSyntax

    return FindingsSyntax()


def _sedic() -> "PayloadSyntax":
    from link.codecs.sedic import SedicSyntax

    return SedicSyntax()


def _sggic() -> "PayloadSyntax":
    from link.codecs.sggic import SggicSyntax

    return SggicSyntax()


class SyntaxTable(MutableMapping[str, "PayloadSyntax"]):
    """Syntaxes by codec name, each made when it is first asked for: the command line lists names without numpy."""

    def __init__(self, rows: Mapping[str, Callable[[], "PayloadSyntax"]]) -> None:
        self._rows = dict(rows)
        self._made: dict[str, PayloadSyntax] = {}

    def __getitem__(self, name: str) -> "PayloadSyntax":
        if name not in self._made:
            self._made[name] = self._rows[name]()
        return self._made[name]

    def __setitem__(self, name: str, syntax: "PayloadSyntax") -> None:
        self._rows[name] = lambda: syntax
        self._made[name] = syntax

    def __delitem__(self, name: str) -> None:
        del self._rows[name]
        self._made.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


SYNTAXES = SyntaxTable(
    {
        "gsc": _gsc,
        "jpeg2000": _classical("jpeg2000"),
        "webp": _classical("webp"),
        "avif": _classical("avif"),
        "jpeg": _classical("jpeg"),
        "findings": _findings,
        "sedic": _sedic,
        "sggic": _sggic,
    }
)
"""The first is the default of `codec.name`."""
