"""What viewers may say, and nothing else: JSON of at most 4 KiB, read strictly.

Whatever is no wish is refused with one line, and the connection lives.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

MOST_BYTES = 4096
COMMANDS_S = 20
"""Commands a second that a viewer may give; of changes the newest wins, others are refused."""
_Id = Annotated[int, Field(ge=0, lt=1 << 53)] | None
_Text = Annotated[str, Field(max_length=200)]
_Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e15, le=1e15)]
_Whole = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
Scalar = bool | _Whole | _Number | _Text | None


class _Wish(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Ack(_Wish):
    """A message was read."""

    do: Literal["ack"]
    seq: Annotated[int, Field(ge=0, lt=1 << 53)]


class SetFields(_Wish):
    """Controls were set."""

    do: Literal["change"]
    paths: Annotated[dict[Annotated[str, Field(max_length=100)], Scalar], Field(min_length=1, max_length=32)]
    id: _Id = None


class SetPace(_Wish):
    """Pause, go on, step, speed up."""

    do: Literal["pace"]
    turn: Literal["pause", "resume", "event", "picture", "stop"] | None = None
    factor: _Number | None = None
    id: _Id = None


class Seek(_Wish):
    """Go to a time of a replay."""

    do: Literal["seek"]
    ns: Annotated[int, Field(ge=0, lt=1 << 62)]
    id: _Id = None


class Fetch(_Wish):
    """The lossless picture."""

    do: Literal["fetch"]
    id: Annotated[str, Field(min_length=3, max_length=60)]


class Open(_Wish):
    """Another session, by a name of a list."""

    do: Literal["open"]
    what: Literal["preset", "story", "codec", "source"]
    name: Annotated[str, Field(min_length=1, max_length=100)]
    id: _Id = None


class Mark(_Wish):
    """Remember this moment."""

    do: Literal["mark"]
    text: Annotated[str, Field(max_length=80)]
    id: _Id = None


Wish = Ack | SetFields | SetPace | Seek | Fetch | Open | Mark
_ADAPTER: TypeAdapter[Wish] = TypeAdapter(Annotated[Wish, Field(discriminator="do")])


def read(text: str) -> Wish:
    """Return the wish in *text*. Raise ValueError, in one short line, where it is none."""
    if len(text) > MOST_BYTES:
        raise ValueError(f"a message of {len(text)} characters; at most {MOST_BYTES}")
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        first: Any = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"][1:4])
        raise ValueError(
            f"no command of this page: {where}{': ' if where else ''}{first['msg'][:120]}"
        ) from None
    except RecursionError:
        raise ValueError("no command of this page: nested too deep") from None


class CommandRate:
    """How many commands a viewer may still give in this second."""

    def __init__(self, now_s: float) -> None:
        self._left, self._at = float(COMMANDS_S), now_s

    def take(self, now_s: float) -> bool:
        """Return whether one more is within the limit."""
        self._left = min(float(COMMANDS_S), self._left + (now_s - self._at) * COMMANDS_S)
        self._at = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
