"""Pages at the link's socket: those who watch a live session, and steer it. They are told news, and never waited for.

page -> link   hello   {role: page, wire}        link -> page   welcome  {session, times}
               change  {paths, by, id}                          news     {...} + rows, packets, pictures
               pace    {turn, factor, id}                       told     {id, refused}
               mark    {text, by, id}                           ends     {sender, receiver}: before the run begins

A page whose queue is full misses news; one that is gone, or says what makes no sense, ends nothing.
"""

from collections.abc import Callable
from typing import Any

from link import messages
from link.inputs import Change, Note, Timing, Turn
from link.packet import VERSION

MAX_PAGES = 8
Send = Callable[[bytes, list[bytes]], bool | None]
"""Sends a message to a peer. Returns True; None where its queue is full, False where it is gone."""


class Pages:
    """The pages that are there. *send* reaches them."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._peers: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._peers)

    def __contains__(self, peer: bytes) -> bool:
        return peer in self._peers

    def greet(self, peer: bytes, wire: int, welcome: dict[str, Any]) -> None:
        """Welcome a page, or say why not."""
        refusal = None
        if wire != VERSION:
            refusal = f"the link speaks wire version {VERSION}, the page {wire}"
        elif len(self._peers) >= MAX_PAGES:
            refusal = f"there are {MAX_PAGES} pages already"
        if refusal is not None:
            self._tell(peer, messages.pack(b"bye", {"error": refusal, "exit_code": 2}))
            return
        self._peers.add(peer)
        self._tell(peer, messages.pack(b"welcome", welcome))

    def handle(self, peer: bytes, verb: bytes, fields: dict[str, Any]) -> Change | Note | Timing:
        """Return what a page wishes; it is told what comes of it. Raise ValueError where it is no wish."""
        if verb == b"change":
            asked = messages.ChangeAsked.read(fields)
            return Change(asked.paths, asked.by, self._echo(peer, asked.id))
        if verb == b"pace":
            wish = messages.PaceAsked.read(fields)
            turn = None if wish.turn is None else Turn(wish.turn)
            return Timing(turn, wish.factor, self._echo(peer, wish.id))
        if verb == b"mark":
            note = messages.MarkAsked.read(fields)
            return Note(note.text, note.by, self._echo(peer, note.id))
        raise ValueError(f"a {verb.decode()} from a page")

    def _echo(self, peer: bytes, number: int) -> Callable[[str | None], None]:
        def tell(refused: str | None) -> None:
            self._tell(peer, messages.pack(b"told", {"id": number, "refused": refused}))

        return tell

    def broadcast(self, parts: list[bytes]) -> None:
        """Tell every page."""
        for peer in list(self._peers):
            self._tell(peer, parts)

    def _tell(self, peer: bytes, parts: list[bytes]) -> None:
        if self._send(peer, parts) is False:
            self._peers.discard(peer)

    def probe(self) -> None:
        """Forget the pages that are gone."""
        self.broadcast(messages.pack(b"ping", {}))

    def close(self, reason: dict[str, Any]) -> None:
        """Say goodbye."""
        self.broadcast(messages.pack(b"bye", reason))
