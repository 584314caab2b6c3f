"""Coding 8 latent channels: microseconds a frame to write and to read, and their ratio to the goal of 2 ms.

On maps of about 0.6 bits a symbol, made here unless `--maps` names an .npy file of integers (N, n, H, W); a fifth of
them is measured, the rest is learned from unless `--tables` names a safetensors file. Best of many turns, one core.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from link.bitstream.latent import LatentTables, decode, encode
from link.seeds import generator
from scenarios.training.tables import fit

GOAL_US = 2000
CHANNELS = 8
FRAMES = 20
GENERIC_SHAPE = (32, 48)


def made(shape: tuple[int, int], count: int) -> np.ndarray:
    """Return correlated maps of two channels, busier below than above."""
    height, width = shape
    field = generator(1, "bench").standard_normal((count, 2, height + 4, width + 4))
    for axis in (2, 3):
        field = field + 0.8 * np.roll(field, 1, axis) + 0.5 * np.roll(field, 2, axis)
    scale = np.linspace(0.15, 0.7, height)[:, None]
    return np.rint(field[:, :, 4:, 4:] / field.std() * scale).astype(np.int32)


def best_us(act: Callable[[int], object], frames: int) -> float:
    """Return the processor time of one frame in the fastest of 15 turns."""
    best = float("inf")
    for _ in range(15):
        started = time.process_time()
        for at in range(frames):
            act(at)
        best = min(best, (time.process_time() - started) / frames)
    return best * 1e6


def row(name: str, maps: np.ndarray, tables: LatentTables, goal_us: int) -> None:
    """Print a line for *maps* (N, n, H, W), whose channels are used over until there are `CHANNELS`."""
    channels = [at % maps.shape[1] for at in range(CHANNELS)]
    frames = [one[channels] for one in maps[:FRAMES]]
    coded = [encode(frame, channels, tables) for frame in frames]
    shape = (maps.shape[2], maps.shape[3])
    write = best_us(lambda at: encode(frames[at], channels, tables), len(frames))
    read = best_us(lambda at: decode(coded[at], channels, shape, tables), len(frames))
    size = sum(len(data) for sections in coded for data in sections) / len(frames)
    bits = 8 * size / frames[0].size
    print(f"{name:18}{size:8.1f} bytes{bits:7.2f} bits/symbol", end="")
    print(f"{write:9.0f} us to write ({write / goal_us:.2f}){read:9.0f} us to read ({read / goal_us:.2f})")


def main() -> None:
    """Print a line for trained tables and one for generic tables on larger maps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=Path)
    parser.add_argument("--tables", type=Path)
    args = parser.parse_args()
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    maps = np.load(args.maps) if args.maps else made((12, 16), 250)
    measured = max(1, len(maps) // 5)
    tables = LatentTables.from_arrays(load_file(args.tables)) if args.tables else fit(maps[measured:])
    started = time.process_time()
    encode(maps[0], range(maps.shape[1]), LatentTables.from_arrays(tables.to_arrays()))
    print(f"loading {tables.n} channels and a first frame: {(time.process_time() - started) * 1e3:.1f} ms")
    row("trained", maps[:measured], tables, GOAL_US)
    larger = made(GENERIC_SHAPE, FRAMES)
    row("generic {}x{}".format(*GENERIC_SHAPE), larger, LatentTables.generic(2), 20 * GOAL_US)


if __name__ == "__main__":
    main()
