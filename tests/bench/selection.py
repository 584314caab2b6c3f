"""GSC's choice of channels beside CompressAI's own `compress()`: 320 channels, 768x512, the same picture and machine.

Weights are random: time does not depend on them, but the entropy coder's does on the symbols, so it is shown alone.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from compressai.models import MeanScaleHyperprior

from link.seeds import generator
from sender.transform import AnalysisTransform, similarity

WIDTH, HEIGHT, CHANNELS = 768, 512, 320
TURNS = 5


def best_s(work: Callable[[], object]) -> float:
    """Return the shortest time of a few turns, after one that is not counted."""
    work()
    times = []
    for _ in range(TURNS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    """Print the table."""
    model = MeanScaleHyperprior(192, CHANNELS).eval().requires_grad_(False)
    model.update()
    coarse = generator(1, "picture").integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3))
    pixels = np.kron(coarse, np.ones((16, 16, 1))).astype(np.uint8)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    analysis = AnalysisTransform(model.g_a, CHANNELS)
    maps = np.clip(analysis(pixels) * 50, -20, 20)
    with torch.inference_mode():
        whole = best_s(lambda: model.compress(tensor))
    transform = best_s(lambda: analysis(pixels))
    choice = best_s(lambda: similarity(maps, pixels))
    rows = (
        ("CompressAI compress()", whole),
        ("g_a alone", transform),
        ("choice among 320 channels", choice),
        ("g_a and choice", transform + choice),
    )
    for name, seconds in rows:
        print(f"{name:28}{1000 * seconds:9.1f} ms{seconds / whole:8.3f} times compress()")


if __name__ == "__main__":
    main()
