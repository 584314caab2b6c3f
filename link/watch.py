"""A page's side of the link's socket (`link.pages`), on an event loop: it hears a live session, and steers it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zmq
import zmq.asyncio

from link import messages
from link.config import Session
from link.errors import PartialError
from link.keys import check_address, show_credentials
from link.packet import VERSION
from link.relay import PeerGoneError, set_limits
from link.tap import LinkNews, unpack_news

_MOST_BYTES = 64 << 20


class Watcher:
    """Watches the link at *address*; *curve* is a folder with keys, *token* the password of a run's own processes.

    To be made and used on one event loop. Raise UsageError for an address that needs keys.
    """

    def __init__(self, address: str, *, curve: Path | None = None, token: str = "") -> None:
        check_address(address, curve)
        self._address = address
        self._context = zmq.asyncio.Context()
        socket = self._context.socket(zmq.DEALER)
        set_limits(socket, _MOST_BYTES)
        show_credentials(socket, curve, token)
        socket.connect(address)
        self._socket = socket
        self._count = 0
        self._asked: dict[int, asyncio.Future[str | None]] = {}

    async def meet(self, wait_s: float) -> Session:
        """Return the session as it is now. Raise PeerGoneError where no link answers within *wait_s* seconds."""
        await self._socket.send_multipart(messages.pack(b"hello", {"role": "page", "wire": VERSION}))
        try:
            while True:
                verb, fields, _ = await asyncio.wait_for(self._read(), wait_s)
                if verb == b"welcome":
                    return messages.Welcome.read(fields).session
                if verb == b"bye":
                    raise PartialError(messages.Bye.read(fields).error or "the link has ended")
        except TimeoutError:
            raise PeerGoneError(f"no link answered at {self._address} within {wait_s:g} s") from None
        except ValueError as error:
            raise self._strange(error) from None

    async def hear(self) -> LinkNews | messages.EndsTold | messages.Bye:
        """Return the next news, how the ends stand before there are any, or the link's goodbye.

        Raise PartialError for what is no message of a link.
        """
        while True:
            try:
                verb, fields, blobs = await self._read()
                if verb == b"news":
                    return unpack_news(fields, blobs)
                if verb == b"ends":
                    return messages.EndsTold.read(fields)
                if verb == b"bye":
                    return messages.Bye.read(fields)
                if verb == b"told":
                    told = messages.Told.read(fields)
                    if (waiting := self._asked.pop(told.id, None)) is not None and not waiting.done():
                        waiting.set_result(told.refused)
            except ValueError as error:
                raise self._strange(error) from None

    async def change(self, paths: Mapping[str, Any], by: str) -> str | None:
        """Ask for a change (`link.steering.lay`); return why it is refused, None where it is done."""
        return await self._ask(b"change", {"paths": dict(paths), "by": by})

    async def pace(self, turn: str | None, factor: float | None) -> str | None:
        """Ask for another pace (`link.inputs.Timing`); return why it is refused, None where it is done."""
        return await self._ask(b"pace", {"turn": turn, "factor": factor})

    async def mark(self, text: str, by: str) -> str | None:
        """Ask for a mark in the journal (`link.inputs.Note`); return why it is refused, None where it is done."""
        return await self._ask(b"mark", {"text": text, "by": by})

    async def _ask(self, verb: bytes, fields: dict[str, Any]) -> str | None:
        self._count += 1
        waiting = self._asked[self._count] = asyncio.get_running_loop().create_future()
        await self._socket.send_multipart(messages.pack(verb, {**fields, "id": self._count}))
        try:
            return await asyncio.wait_for(waiting, _ANSWER_S)
        except TimeoutError:
            return f"the link did not answer within {_ANSWER_S:g} s"
        finally:
            self._asked.pop(self._count, None)

    async def _read(self) -> tuple[bytes, dict[str, Any], list[bytes]]:
        return messages.unpack(await self._socket.recv_multipart())

    @staticmethod
    def _strange(error: ValueError) -> PartialError:
        return PartialError(f"the link sent what is no message of farlink's: {error}")

    def close(self) -> None:
        """Let go of the socket. Does nothing a second time."""
        if not self._context.closed:
            self._context.destroy(linger=0)


_ANSWER_S = 10.0
"""Loading may keep a link from answering for longer; it is asked again by whoever steers."""
