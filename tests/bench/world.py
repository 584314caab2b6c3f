"""Seconds to make a rendered world and seconds a frame of it, on one core or on a GPU.

    python tests/bench/world.py [--device cuda] [--size 256 192] [--out DIR]

Processor seconds on the CPU, so that a busy machine does not count; wall-clock seconds on a GPU, where frames are
rendered together. `--out` keeps a contact sheet of each theme: seeds down, frames across.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image

from sender.camera.world.source import THEMES, World

GOAL_S = 0.3
SEEDS = (1, 2, 3)
FRAMES = (0, 30, 60, 110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 192), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    width, height = given.size
    torch.set_num_threads(1)
    clock = time.process_time if given.device == "cpu" else time.perf_counter
    for theme in THEMES:
        making, drawing, rows = [], [], []
        for seed in SEEDS:
            started = clock()
            world = World(theme, seed)
            making.append(clock() - started)
            world.view(1, 32, 24)  # what the first frame alone pays
            if given.device != "cpu":
                world.views(FRAMES, width, height, device=given.device)
                started = clock()
                views = world.views(FRAMES, width, height, device=given.device)
                drawing += [(clock() - started) / len(FRAMES)] * len(FRAMES)
            else:
                views = []
                for index in FRAMES:
                    started = clock()
                    views.append(world.view(index, *given.size))
                    drawing.append(clock() - started)
            rows.append(np.concatenate([view.pixels for view in views], 1))
        median, worst = float(np.median(drawing)), max(drawing)
        print(
            f"{theme:9} making {np.median(making):.2f} s, a frame {median:.3f} s, "
            f"worst {worst:.3f} s, {worst / GOAL_S:.2f} of the goal"
        )
        if given.out:
            given.out.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.concatenate(rows)).save(given.out / f"{theme}.png")


if __name__ == "__main__":
    main()
