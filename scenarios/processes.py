"""Three processes under one parent: starts sender, link and receiver, watches them, leaves none behind.

Each child holds one end of a pipe on its standard input and stops when it closes, so even a parent that is
killed takes its children along. What is to be run, the address of the link and a token that only these processes
know go through those pipes, and what the children say on standard error into files without a name: nothing is left
in the run's folder but what the run made.
"""

import contextlib
import json
import os
import secrets
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from link.config import Session
from link.errors import FarlinkError, PartialError, StorageError

_GRACE_S = 5.0
_LAST_LINES = 5  # of what a crashed process said, which its error shows
_TAIL_BYTES = 16_384
ROLES = ("link", "sender", "receiver")
Progress = Callable[[dict[str, Any]], None]


class Processes:
    """The three processes of one run, in *folder*, where the journal is `run.mcap`.

    Of a journal longer than *keep_bytes* the end is kept (`link.segments`). *surroundings* are variables that the
    sender finds in its environment.
    """

    def __init__(
        self,
        folder: Path,
        session: Session,
        head: dict[str, Any],
        factor: float | None,
        *,
        keep_bytes: int | None = None,
        surroundings: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder
        self.token = secrets.token_hex(16)
        """What lets a process come to the link."""
        self._said: dict[str, IO[bytes]] = {}  # standard error of each child
        realtime = [] if factor is None else ["--realtime", str(factor)]
        files = ["--journal", str(folder / "run.mcap"), "--timings", str(folder / "timings.json")]
        if keep_bytes is not None:
            files += ["--keep", str(keep_bytes)]
        self.children = {
            "link": self._start("link", *files, *realtime),
            "sender": self._start("sender", surroundings=surroundings or {}),
            "receiver": self._start("receiver"),
        }
        plan = {
            "session": session.model_dump(mode="json", by_alias=True),
            "head": head,
            "token": self.token,
        }
        self._tell("link", json.dumps(plan))
        self._stopped: set[str] = set()  # those that had to be killed here, whose silence says nothing

    def _start(
        self, module: str, *arguments: str, surroundings: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        self._said[module] = said = tempfile.TemporaryFile()
        return subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments, "--supervised"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if module == "link" else subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,  # Ctrl-C is the parent's to handle
            env={
                **os.environ,
                "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
                **(surroundings or {}),
            },
        )

    def _tell(self, role: str, line: str) -> None:
        """Write *line* to the standard input of a child, if it still reads."""
        pipe = self.children[role].stdin
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError):
            pipe.write(f"{line}\n".encode())
            pipe.flush()

    def watch(self, progress: Progress) -> None:
        """Pass on what the link tells until the run is over.

        Raise the error that a process ended with, PartialError where one died; the journal is whole then.
        """
        try:
            self._follow(progress)
        except BaseException:
            self._stop()
            raise
        self._stop()
        self._raise_errors()

    def _follow(self, progress: Progress) -> None:
        link = self.children["link"]
        assert link.stdout is not None
        os.set_blocking(link.stdout.fileno(), False)
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(link.stdout, selectors.EVENT_READ)
            while True:
                selector.select(timeout=0.2)
                block = link.stdout.read()
                if block == b"":
                    return
                *lines, rest = (rest + (block or b"")).split(b"\n")
                for line in lines:
                    record = json.loads(line)
                    if record["kind"] == "listening":
                        self._introduce(record["address"])
                    progress(record)
                if any(child.poll() not in (None, 0) for child in self.children.values()):
                    self._drain(progress, rest)
                    return

    def _drain(self, progress: Progress, rest: bytes) -> None:
        """A process died: have the link finish its journal, and pass on what it still says."""
        link = self.children["link"]
        assert link.stdin is not None and link.stdout is not None
        # A process that reported an error itself has told the link; give the link time to end on that.
        with contextlib.suppress(subprocess.TimeoutExpired):
            link.wait(0.5)
        with contextlib.suppress(OSError):
            link.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            link.wait(_GRACE_S)
        for line in (rest + (link.stdout.read() or b"")).split(b"\n")[:-1]:
            with contextlib.suppress(ValueError):
                progress(json.loads(line))

    def _introduce(self, address: str) -> None:
        for role in ("sender", "receiver"):
            self._tell(role, f"{address} {self.token}")

    def _stop(self) -> None:
        """End every process that still runs, gently first, the link before the others."""
        for role in ROLES:
            child = self.children[role]
            if role != "link" and self.children["link"].returncode == 0:
                self._wait(child, _GRACE_S)  # the link said goodbye
            with contextlib.suppress(OSError):
                if child.stdin is not None:
                    child.stdin.close()
            self._wait(child, _GRACE_S)
            if child.poll() is None:
                self._stopped.add(role)
                child.kill()
                child.wait()
        from link import journal  # whoever runs processes needs it at their end alone

        journal_path = self._folder / "run.mcap"
        if journal_path.is_file():
            try:
                journal.recover(journal_path)
            except StorageError:
                if journal_path.stat().st_size < 1000:  # killed before its first record was out
                    journal_path.unlink()
        journal_path.with_suffix(".reserve").unlink(missing_ok=True)

    @staticmethod
    def _wait(child: "subprocess.Popen[bytes]", seconds: float) -> None:
        end = time.monotonic() + seconds
        while child.poll() is None and time.monotonic() < end:
            time.sleep(0.005)

    def _raise_errors(self) -> None:
        """Raise what the run ended with; a process's own words come before the silence of a killed one."""
        codes = {role: child.returncode for role, child in self.children.items()}
        codes = {role: code for role, code in codes.items() if role not in self._stopped} or codes
        if not any(codes.values()):
            return  # also where an end took too long to leave a run that the link had ended well
        killed = [role for role in codes if codes[role] < 0]
        if killed:
            words = self._last_lines(killed[0])
            raise PartialError(
                f"the {killed[0]} was killed (signal {-codes[killed[0]]}); the journal holds what was done"
                + (f"; its last words: {words}" if words else "")
            )
        failed = [role for role in codes if codes[role]]
        worst = sorted(failed, key=lambda role: (codes[role] == 3, ROLES.index(role)))[0]
        own, words = f"farlink {worst}: ", self._last_lines(worst)
        *_, last = words.rsplit("\n", 1)
        if last.startswith(own):
            error = FarlinkError(last.removeprefix(own))
        else:
            error = FarlinkError(
                f"the {worst} ended with exit code {codes[worst]}: {words or 'it said nothing'}"
            )
        error.exit_code = codes[worst]
        raise error

    def _last_lines(self, role: str) -> str:
        """Return the end of what a child said on standard error; empty where it said nothing."""
        said = self._said[role]
        said.seek(max(0, said.seek(0, os.SEEK_END) - _TAIL_BYTES))
        lines = said.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-_LAST_LINES:])
