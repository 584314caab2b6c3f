"""How many cells the search for the cheapest link runs, against the whole grid that it comes to the same answer as.

Goal: at most a third of the cells. Counts, and so ratios, do not depend on the machine or on what else it does. Of so few
frames and so high a share chance alone makes a low rung enough where a higher one is not: there the answers may differ.
"""

import argparse
import os
import tempfile

from scenarios.cheapest import answer
from scenarios.cheapest.question import Question

RATES = (5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500)


def ask(keep: float, frames: int, codecs: tuple[str, ...]) -> Question:
    """Return a question about small pictures of Mars on the way of mars-relay."""
    return Question(
        "mars-relay",
        "depth",
        keep,
        codecs=codecs,
        settings=("camera.width=64", "camera.height=48", "codec.steps=1"),
        vary={"link.rate_bps": RATES},  # the ladder of pictures of 256x192
        frames=frames,
    )


def main() -> None:
    """Print a line for each share that is to be kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--codecs", default="webp,jpeg2000,findings")
    options = parser.parse_args()
    codecs = tuple(options.codecs.split(","))
    with tempfile.TemporaryDirectory() as place:
        os.environ["FARLINK_CACHE"] = place
        print(
            "keep    cells of the grid   looked at   share   cheapest, bit/s   of the whole grid   pairs not as assumed"
        )
        for keep in (0.8, 0.95, 0.99):
            question = ask(keep, options.frames, codecs)
            found = answer.find(question, workers=0)
            whole = answer.find(question, whole_grid=True, workers=0)
            rates = [best[0][0].on_air_bps if best else None for best in (found.best, whole.best)]
            share = found.spent.looked_at / whole.spent.grid
            print(
                f"{keep:4.0%}{whole.spent.grid:21}{found.spent.looked_at:12}{share:8.0%}"
                f"{rates[0] or 0:18.1f}{rates[1] or 0:20.1f}{len(whole.breaks):16} of {whole.pairs}"
            )


if __name__ == "__main__":
    main()
