"""The erasure code through farlink's own functions beside bare raptorq: MB/s and their ratio.

    python tests/bench/repair.py

Blocks of 100 symbols of 1,280 and of 120 bytes with 25 repair packets, a fifth of all lost. Both do the same blocks in
turn, and the best of several rounds counts, so that a busy machine slows both alike. What farlink adds is padding,
heads, and the check that all fits together. The last rows are windows over the first 20 and 50 packets beside it.
"""

from collections.abc import Callable
from time import perf_counter

import numpy as np
import raptorq

from link.repair import fec

COUNT, REPAIRS, ROUNDS = 100, 25, 7


def best(work: Callable[[], object], seconds: float = 0.1) -> float:
    """Return the least seconds that one call of *work* takes, over rounds of *seconds*."""
    least = float("inf")
    for _ in range(ROUNDS):
        calls, started = 0, perf_counter()
        while (gone := perf_counter() - started) < seconds:
            work()
            calls += 1
        least = min(least, gone / calls)
    return least


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(1)
    kept = sorted(map(int, rng.choice(COUNT + REPAIRS, COUNT + 2, replace=False)))
    print(f"{'symbol':>7} {'work':>16} {'raptorq':>9} {'farlink':>9} {'ratio':>6}")
    for width in (1280, 120):
        bodies = [rng.bytes(width - 1) for _ in range(COUNT)]  # a symbol is a body and a byte of padding
        data = b"".join(body + b"\x80" for body in bodies)
        raw = raptorq.Encoder.with_defaults(data, width).get_encoded_packets(REPAIRS)
        made = [fec.split(body)[1] for body in fec.encode((COUNT,), bodies, REPAIRS)]
        have = {place: bodies[place] for place in kept if place < COUNT}
        symbols = {place - COUNT: made[place - COUNT] for place in kept if place >= COUNT}

        def bare_encode(data: bytes = data, width: int = width) -> object:
            return raptorq.Encoder.with_defaults(data, width).get_encoded_packets(REPAIRS)

        def bare_decode(raw: list[bytes] = raw, width: int = width) -> object:
            decoder = raptorq.Decoder.with_defaults(COUNT * width, width)
            for place in kept:
                if (whole := decoder.decode(raw[place])) is not None:
                    return whole
            raise RuntimeError("the block was not decoded")

        def encode(bodies: list[bytes] = bodies, windows: tuple[int | None, ...] = ()) -> object:
            return fec.encode((COUNT,), bodies, REPAIRS, windows)

        def decode(have: dict[int, bytes] = have, symbols: dict[int, bytes] = symbols) -> object:
            if (found := fec.decode(COUNT, have, symbols)) is None:
                raise RuntimeError("the block was not decoded")
            return found

        split = tuple(window for window in (20, 50, None) for _ in range(9))[:REPAIRS]
        for name, bare, own in (
            ("encode", bare_encode, encode),
            ("decode", bare_decode, decode),
            ("encode windows", bare_encode, lambda encode=encode, split=split: encode(windows=split)),
        ):
            rates = [COUNT * width / best(work) / 1e6 for work in (bare, own)]
            print(f"{width:>7} {name:>16} {rates[0]:>9.1f} {rates[1]:>9.1f} {rates[1] / rates[0]:>6.2f}")


if __name__ == "__main__":
    main()
