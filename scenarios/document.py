"""YAML that a user or a stranger wrote: one document of plain values, or one line that says what is wrong and where.

Read are mappings, lists, texts, numbers, true, false and null. A date is the text that stands there: no field of a
scenario holds one. Anchors, aliases and merges are read as well, but counted as if they were written out, because a few
hundred bytes of them can stand for more values than fit into memory. Other tags (`!!set`, `!!binary`, ...) are refused.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from link.errors import UsageError
from link.terminal import escape, shorten

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
"""Groups within groups; a scenario has seven."""
MAX_VALUES = 30_000
"""Values, groups and keys of a document with its aliases written out."""
MAX_DIGITS = 64
"""Letters of a number. Python refuses to write whole numbers of 4,301 digits, and needs long for those that it does."""

_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_WRITTEN = {
    _INT,
    _FLOAT,
    "tag:yaml.org,2002:bool",
    "tag:yaml.org,2002:null",
}  # tags that a text has by its looks
_PLAIN = _WRITTEN | {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map", "merge")}
# A NUL ends a path, a lone surrogate is in no UTF-8: neither can be written down again.
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")


def read(path: Path) -> Any:
    """Return what the YAML file at *path* says. Raise UsageError in one line for anything else than plain values."""
    return parse(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Return the text at *path*, UTF-8 of at most `MAX_BYTES`.

    Raise UsageError where it is none, FileNotFoundError where nothing is there.
    """
    name = shorten(escape(str(path)))
    try:
        if not path.is_file():  # not to wait for a pipe, nor read a device for ever
            path.stat()
            raise UsageError(f"{name}: not a file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise UsageError(f"{name}: over {MAX_BYTES} bytes; a few hundred lines were expected")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8: byte {error.start} is {data[error.start]:#04x}") from None


def parse(text: str, where: str) -> Any:
    """Return the value of the YAML document *text*, which stands at *where*: a file's name, or an option with its key.

    Raise UsageError, in one line with the number of the line in *text*, for what is no YAML, has other than plain
    values, a key twice, a number over `MAX_DIGITS`, or passes `MAX_BYTES`, `MAX_DEPTH` or `MAX_VALUES`.
    """
    where = shorten(escape(where))
    if len(text) > MAX_BYTES:
        raise UsageError(f"{where}: over {MAX_BYTES} letters; a few hundred lines were expected")
    loader = None
    try:
        loader = _Loader(text)
        return _written_out(loader.get_single_data())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        problem = error.problem or str(error)
        if error.context and problem.startswith("but "):  # the second half of a sentence
            problem = f"{error.context}, {problem}"
        raise UsageError(f"{where}{line}: not valid YAML: {shorten(escape(problem), 160)}") from None
    except yaml.reader.ReaderError as error:
        line = f", line {text.count(chr(10), 0, error.position) + 1}"
        problem = f"the character {error.character:#x} may not stand there"
        raise UsageError(f"{where}{line}: not valid YAML: {problem}") from None
    except (ValueError, OverflowError):
        raise UsageError(f'{where}: not valid YAML: an escape in "" names no character') from None
    finally:
        if loader is not None:
            loader.dispose()


class _Loader(yaml.SafeLoader):
    """The safe loader with bounds, which hold before anything is made of the nodes."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = 0  # so far, aliases written out
        self._depth = self._deepest = 0
        self._extents: dict[yaml.Node, tuple[int, int]] = {}  # values within a finished node, groups below it

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        """Return the next node. Raise ComposerError where a bound is passed, or an alias stands for what holds it."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            assert node is not None  # PyYAML raises where there is none
            if node not in self._extents:
                raise _refused("an alias stands within what it stands for", mark)
            values, below = self._extents[node]
            self._count(values, self._depth + below, mark)
            return node
        before, outer = self._values, self._deepest
        self._deepest = self._depth
        self._count(1, self._depth, mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        assert node is not None
        self._depth -= 1
        self._extents[node] = self._values - before, self._deepest - self._depth
        self._deepest = max(outer, self._deepest)
        if node.tag not in _PLAIN:
            kind = shorten(node.tag.replace("tag:yaml.org,2002:", "!!"), 40)
            raise _refused(f"the tag {kind} is not read here; plain values were expected", mark)
        if isinstance(node, yaml.ScalarNode):
            self._check_scalar(node)
        elif isinstance(node, yaml.MappingNode):
            _check_keys(node)
        return node

    def _count(self, values: int, depth: int, mark: yaml.Mark) -> None:
        self._values += values
        self._deepest = max(self._deepest, depth)
        if depth > MAX_DEPTH:
            raise _refused(f"over {MAX_DEPTH} groups within groups", mark)
        if self._values > MAX_VALUES:
            raise _refused(f"over {MAX_VALUES} values, aliases written out", mark)

    def _check_scalar(self, node: yaml.ScalarNode) -> None:
        """Raise ComposerError where the text of *node* is not that of its tag, or could not be written down again."""
        meant = self.resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
        if node.tag != meant and node.tag in _WRITTEN and not (node.tag == _FLOAT and meant == _INT):
            kind = node.tag.rpartition(":")[2]
            raise _refused(f"{_quoted(node.value)} is no {kind}", node.start_mark)
        if node.tag in (_INT, _FLOAT) and len(node.value) > MAX_DIGITS:
            raise _refused(f"a number of {len(node.value)} letters; at most {MAX_DIGITS}", node.start_mark)
        if _UNWRITABLE.search(node.value):
            raise _refused("a NUL or half of a surrogate pair in a text", node.start_mark)


def _check_keys(node: yaml.MappingNode) -> None:
    """Raise ComposerError for a key that stands twice or is no plain value. Before merges, whose keys may repeat."""
    seen = set()
    for key, _value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _refused("a key is a list or a mapping; a word was expected", key.start_mark)
        if (key.tag, key.value) in seen:
            raise _refused(f"the key {_quoted(key.value)} stands twice", key.start_mark)
        seen.add((key.tag, key.value))


def _quoted(text: str) -> str:
    return shorten(repr(text), 40)


def _refused(problem: str, mark: yaml.Mark) -> yaml.YAMLError:
    return yaml.composer.ComposerError(None, None, problem, mark)


def _number(kind: Callable[[_Loader, yaml.ScalarNode], Any]) -> Callable[[_Loader, yaml.ScalarNode], Any]:
    """Return *kind* as it reads what has the look of a number and is none, as `0x_`: with the place of the error."""

    def construct(loader: _Loader, node: yaml.ScalarNode) -> Any:
        try:
            return kind(loader, node)
        except (ValueError, OverflowError, IndexError):
            raise _refused(f"{_quoted(node.value)} is no number", node.start_mark) from None

    return construct


_Loader.add_constructor(_INT, _number(yaml.SafeLoader.construct_yaml_int))
_Loader.add_constructor(_FLOAT, _number(yaml.SafeLoader.construct_yaml_float))
# Without these a date, or a lone `=`, is a text like any other.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rows if tag in _PLAIN]
    for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _written_out(value: Any) -> Any:
    """Return *value* with a copy wherever an alias stood, so that to set one of them sets no other."""
    if isinstance(value, dict):
        return {key: _written_out(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_written_out(item) for item in value]
    return value
