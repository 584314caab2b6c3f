"""What may be changed while a run goes on: values by dotted path, laid over the session, which is checked again whole.

    lay(session, {"link.hops.0.rate_bps": 250}) -> session with it, {"link.hops.0.rate_bps": (500.0, 250.0)}

Which fields these are stands beside them in `link.config` (`link.marks.Steers`). None of them is in the fingerprint:
what both ends agreed on when they met holds for the whole of a run.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from link.codecs import SYNTAXES
from link.config import Session
from link.errors import UsageError
from link.hops import HopConfig, ReturnHop
from link.marks import steers

MAX_CHANGES = 32
"""Fields that are changed at a time."""


def lay(session: Session, asked: Mapping[str, Any]) -> tuple[Session, dict[str, tuple[Any, Any]]]:
    """Return *session* with the values that are *asked* for, and (old, new) of each of them that is another now.

    A path is the one that `--set` takes, as `link.hops.0.loss.loss`; values are as JSON has them. Raise UsageError, in
    one line, for a path that is not steered, a value that the scenario's rules refuse, and more than `MAX_CHANGES`.
    """
    if not 0 < len(asked) <= MAX_CHANGES:
        raise UsageError(f"a change of {len(asked)} fields: 1 to {MAX_CHANGES} were expected")
    tree = session.model_dump(mode="json", by_alias=True)
    _refuse_derived(session, asked)
    before = {path: _put(tree, session, path, value) for path, value in asked.items()}
    try:
        changed = Session.model_validate(tree)
        SYNTAXES[changed.codec.name].check(changed.codec)
    except ValidationError as error:
        raise UsageError(describe(error)) from None
    except ValueError as error:
        raise UsageError(f"codec: {error}") from None
    after = changed.model_dump(mode="json", by_alias=True)
    values = {path: (old, _get(after, path)) for path, old in before.items()}
    return changed, {path: pair for path, pair in values.items() if pair[0] != pair[1]}


def find_fixed(old: BaseModel, new: BaseModel, path: str = "") -> str | None:
    """Return the path of a field that is not steered and in which *new* differs from *old*, None for none."""
    for name, field in type(old).model_fields.items():
        before, after, where = getattr(old, name), getattr(new, name), f"{path}{field.alias or name}"
        if before == after or steers(field) is not None:
            continue
        pairs = [(where, before, after)]
        if isinstance(before, tuple) and isinstance(after, tuple) and len(before) == len(after):
            pairs = [(f"{where}.{at}", *pair) for at, pair in enumerate(zip(before, after, strict=True))]
        for place, one, other in pairs:
            if not (isinstance(one, BaseModel) and type(one) is type(other)):
                if one != other:
                    return place
            elif (found := find_fixed(one, other, f"{place}.")) is not None:
                return found
    return None


def describe(error: ValidationError) -> str:
    """Return the first thing that is wrong in one line: where, what was expected, what was given."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    plain = first["type"] not in ("value_error", "missing") and not isinstance(given, dict | list)
    return f"{where}: {message[:1].lower() + message[1:]}" + (f", not {str(given)[:80]!r}" if plain else "")


def _refuse_derived(session: Session, asked: Mapping[str, Any]) -> None:
    """Raise UsageError for a path below which a hop's budget has its say."""
    ways: list[tuple[str, str, HopConfig | ReturnHop]] = [
        (f"link.hops.{at}", hop.name, hop) for at, hop in enumerate(session.link.hops)
    ]
    if session.link.return_ is not None:
        ways.append(("link.return", "the way back", session.link.return_))
    for prefix, called, way in ways:
        for name in ("rate_bps", "loss", "bit_error_rate") if way.budget is not None else ():
            place = f"{prefix}.{name}"
            if any(path == place or path.startswith(f"{place}.") for path in asked):
                raise UsageError(f"{place}: follows from the budget of {called}")


def _put(tree: Any, session: Session, path: str, value: Any) -> Any:
    """Set the value at *path* of *tree*, what *session* comes to as JSON; return what stood there."""
    keys = path.split(".")
    _require_steered(session, path, keys)
    node = tree
    for key in keys[:-1]:
        node = node[int(key)] if isinstance(node, list) else node.get(key) if isinstance(node, dict) else None
        if node is None:
            raise UsageError(f"{path}: there is no {key} whose part could be changed; change it whole")
    if not isinstance(node, dict):
        raise UsageError(f"{path}: no such field")
    old = node.get(keys[-1])
    node[keys[-1]] = value
    return old


def _get(tree: Any, path: str) -> Any:
    for key in path.split("."):
        tree = tree[int(key)] if isinstance(tree, list) else tree[key]
    return tree


def _require_steered(session: Session, path: str, keys: list[str]) -> None:
    """Raise UsageError unless a field on the way along *keys* is steered."""
    node: Any = session
    for key in keys:
        if isinstance(node, tuple):
            if not (key.isascii() and key.isdigit() and int(key[:9]) < len(node)):
                raise UsageError(f"{path}: there are items 0 to {len(node) - 1}, not {key[:20]!r}")
            node = node[int(key)]
            continue
        field, name = _field(node, key) if isinstance(node, BaseModel) else (None, "")
        if field is None:
            break
        if steers(field) is not None:
            return
        node = getattr(node, name)
    raise UsageError(f"{path}: cannot be changed while the run goes on")


def _field(model: BaseModel, key: str) -> tuple[FieldInfo | None, str]:
    for name, field in type(model).model_fields.items():
        if key == (field.alias or name):
            return field, name
    return None, ""
