"""The receiver's models in a process of their own: what crashes, hangs or eats memory there costs one picture.

```
receiver's process                        receiver.child
  Isolated.decode(payload)  -- pipe -->     decoder   (torch, codec libraries)
  Isolated.look(pixels)     -- pipe -->     analyst
```

The receiver itself then loads none of what models need.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from link.config import Session
from link.errors import FarlinkError, PartialError
from link.frame import Payload, Pixels
from receiver.decoder import PictureLostError
from receiver.pipe import Message, Reader, pack

_Answer = TypeVar("_Answer")
_BLOCK = 1 << 20
_GRACE_S = 5.0
_TAIL_BYTES = 16_384
_SHIPPED_S, _OTHERS_S = 120.0, 3600.0
COMMAND = (sys.executable, "-P", "-m", "receiver.child")


def picture_limit_s(session: Session) -> float:
    """Return how long a picture may take: `profile.picture_s`, else by what draws it."""
    own, profile = session.profile.picture_s, session.profile
    if own is not None:
        return own
    # A loaded machine needs seconds for what usually takes half of one; FLUX on a CPU, or compiling it, many minutes.
    return _SHIPPED_S if session.codec.profile == "tiny" and not profile.compile else _OTHERS_S


class ChildGoneError(Exception):
    """The process of the models ended, or was ended; says how, in one line."""


class TimedOutError(ChildGoneError):
    """It took too long, and was ended."""


class Child:
    """One process, and the pipes to it. *clock* gives seconds of which only differences mean anything.

    Raise PartialError where the system starts none.
    """

    def __init__(self, command: Sequence[str], clock: Callable[[], float]) -> None:
        self._clock = clock
        try:
            self._said = tempfile.TemporaryFile()  # standard error
            self._process = subprocess.Popen(
                [*command, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is the receiver's to handle
            )
        except OSError as error:
            raise PartialError(f"the decoder's process cannot be started: {error.strerror}") from None
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self._reader = Reader()
        self._waiting: list[memoryview] = []
        for stream in (self._in, self._out):
            os.set_blocking(stream.fileno(), False)

    def tell(self, parts: Sequence[bytes]) -> None:
        """Send the message *parts*: what the pipe does not take at once goes with the wait for the answer."""
        self._waiting = [memoryview(part) for part in reversed(parts) if part]
        self._write()

    def hear(self, limit_s: float) -> Message:
        """Return the answer. Raise ChildGoneError where none comes within *limit_s*: the process is ended then."""
        deadline = self._clock() + limit_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            if self._waiting:
                selector.register(self._in, selectors.EVENT_WRITE)
            while True:
                for key, _events in selector.select(max(0.0, deadline - self._clock())):
                    if key.fileobj is self._out:
                        if (message := self._read()) is not None:
                            return message
                    elif not self._write():
                        selector.unregister(self._in)
                if self._clock() >= deadline:
                    self.end()
                    raise TimedOutError(f"took longer than {limit_s:g} s and was ended")

    def _write(self) -> bool:
        """Write as much of what is waiting, its last part first, as the pipe takes; return whether any is left."""
        try:
            while self._waiting:
                count = os.write(self._in.fileno(), self._waiting[-1])
                rest = self._waiting.pop()[count:]
                if rest:
                    self._waiting.append(rest)
        except BlockingIOError:
            return True
        except BrokenPipeError:  # reading will find that it is gone
            self._waiting = []
        return False

    def _read(self) -> Message | None:
        """Return the answer, None while it is not whole. Raise ChildGoneError where there will be none."""
        block = os.read(self._out.fileno(), _BLOCK)
        if not block:
            raise ChildGoneError(self._autopsy())
        try:
            return next(self._reader.take(block), None)
        except ValueError as error:
            raise self.refuse(error) from None

    def refuse(self, error: Exception) -> ChildGoneError:
        """End the process for an answer that is none, by *error*; return what to raise of it."""
        self.end()
        return ChildGoneError(f"answered what is no answer ({error}) and was ended")

    def _autopsy(self) -> str:
        """Return how the process ended, with its last words, in one line."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        words = self._last_words()
        self.end()
        code = self._process.returncode
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
        return f"{how}: {words}" if words else how

    def _last_words(self) -> str:
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - _TAIL_BYTES))
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:200] if lines else ""

    def end(self) -> None:
        """End the process, if it still runs, and close what belongs to it. Does nothing a second time."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for stream in (self._in, self._out, self._said):
            stream.close()


class Isolated:
    """A decoder and an analyst in a child process, which is started again when it ends.

    `load` comes first. Use as a context manager; leaving it ends the process. *clock* gives seconds.
    """

    def __init__(self, clock: Callable[[], float], command: Sequence[str] = COMMAND) -> None:
        self._command, self._clock = command, clock
        self._child = Child(command, clock)
        self._session: Session | None = None
        self._loaded = False
        self._adjusted: Session | None = None
        self._told = True  # whether the process knows
        self._about: list[dict[str, Any]] = []

    def __enter__(self) -> "Isolated":
        return self

    def __exit__(self, *exc: object) -> None:
        self._child.end()

    def load(self, session: Session) -> None:
        """Load the models of *session*. Raise the error of the one that cannot be, PartialError for a crash."""
        self._session = session
        self._begin()
        self._wait()

    def adjust(self, session: Session) -> None:
        """See `receiver.decoder.SteeredPart.adjust`."""
        assert self._session is not None, "load comes first"
        # The models are those that were loaded at first, should they have to be loaded again.
        self._session = session.model_copy(update={"analysis": self._session.analysis})
        self._adjusted, self._told = session, False

    def decode(self, payload: Payload) -> Pixels | None:
        """Return what the decoder makes of *payload*. Raise PictureLostError where its process ends over it."""
        there = [section is not None for section in payload.sections]
        parts = [section for section in payload.sections if section is not None]
        return self._ask(pack({"do": "decode", "sections": there, **self._news()}, parts), _picture)

    def look(self, pixels: Pixels) -> list[tuple[str, dict[str, Any], bytes | None]]:
        """Return what the analyst sees in *pixels*; where its process ends over them, that nothing was found."""
        try:
            return self._ask(pack({"do": "look", "shape": pixels.shape}, [pixels.tobytes()]), _findings)
        except PictureLostError as error:
            told = {"by": "analysis", "reason": f"a picture was not looked at: {error}"}
            lost = [("not_found", {**about, "reason": str(error)}, None) for about in self._about]
            return [("warned", told, None), *lost]

    def _news(self) -> dict[str, Any]:
        """Return what a request brings besides: the session, where the process does not know how it was changed."""
        if self._adjusted is None or self._told:
            return {}
        return {"session": self._adjusted.model_dump(mode="json", by_alias=True)}

    @property
    def _plan(self) -> Session:
        assert self._session is not None, "load comes first"
        return self._session

    def _begin(self) -> None:
        """Have the process load its models, without waiting for it."""
        self._loaded = False
        self._child.tell(pack({"do": "load", "session": self._plan.model_dump(mode="json", by_alias=True)}))

    def _wait(self) -> None:
        """Wait until the models are loaded."""
        if self._loaded:
            return
        try:
            self._about = _loaded(*self._child.hear(self._plan.profile.load_s))
        except TimedOutError as error:
            raise PartialError(
                f"the decoder's process {error}; profile.load_s gives it longer to load"
            ) from None
        except (ChildGoneError, *_STRANGE) as error:
            raise PartialError(f"the decoder's process cannot start: it {error}") from None
        self._loaded = True

    def _ask(
        self, request: Sequence[bytes], read: Callable[[dict[str, Any], list[bytes]], _Answer]
    ) -> _Answer:
        """Return what *read* makes of the answer to *request*. Raise PictureLostError where there is none."""
        self._wait()
        self._child.tell(request)
        try:
            message = self._child.hear(picture_limit_s(self._plan))
            self._told = True
            try:
                return read(*message)
            except _STRANGE as error:
                raise self._child.refuse(error) from None
        except ChildGoneError as error:
            self._child = Child(self._command, self._clock)
            self._begin()
            self._told = False
            again = "it is started again"
            if self._plan.codec.strength < 1.0:
                again += " and has no picture before to start from"
            raise PictureLostError(f"the decoder's process {error}; {again}") from None


_STRANGE = (KeyError, ValueError, TypeError, IndexError)
"""What reading raises on what is no answer."""


def _what(fields: dict[str, Any], expected: str) -> str:
    """Return what the answer is. Raise the error that it may be, ValueError where it is not what was *expected*."""
    if fields["is"] == "error":
        error = FarlinkError(str(fields["message"]))
        error.exit_code = int(fields["exit_code"])
        raise error
    if fields["is"] not in expected.split():
        raise ValueError(f"{fields['is']!r:.40} where {expected} was expected")
    return str(fields["is"])


def _loaded(fields: dict[str, Any], _blobs: list[bytes]) -> list[dict[str, Any]]:
    _what(fields, "loaded")
    return [dict(about) for about in fields["models"]]


def _picture(fields: dict[str, Any], blobs: list[bytes]) -> Pixels | None:
    if _what(fields, "picture nothing") == "nothing":
        return None
    height, width = map(int, fields["shape"][:2])
    return np.frombuffer(blobs[0], np.uint8).reshape(height, width, 3).copy()


def _findings(fields: dict[str, Any], blobs: list[bytes]) -> list[tuple[str, dict[str, Any], bytes | None]]:
    _what(fields, "seen")
    pictures = iter(blobs)
    return [
        (str(kind), dict(about), next(pictures, b"") if drawn else None)
        for kind, about, drawn in fields["items"]
    ]
