"""Fit the tables of the caption grammar: `python -m scenarios.training.grammar --street DIR --pictures DIR`.

    pictures + labels -> captions at several word limits -> choices in their contexts -> counts
                                                               -> smoothed -> integer frequencies

A context seen seldom leans on the same one without its last part, down to no context at all. A scene that no
caption shows keeps even tables: it can be sent, and costs more. Counting is all there is: the same captions
give the same tables, bit for bit.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import link.weights
from link.bitstream.grammar import TABLE, Caption, decode, encode, shapes, walk
from scenarios.training.cards import CARDS, Cards
from scenarios.training.data import Cut, Pictures
from scenarios.training.text import write
from sender.captioner import CARD, PICTURE, UNKNOWN, describe

SIZE = (256, 192)
WORDS = (16, 24, 32, 48)
"""Word limits of the captions that are counted."""
LEAN = 4.0
"""How many captions the shorter context weighs."""
TOTAL = 1 << 14
"""About the sum of the frequencies of a choice."""
LEAST = 16
"""The least frequency: what training never showed costs ten bits, no more, since segmenters err."""


def fit(captions: Iterable[Caption]) -> dict[str, NDArray[np.uint16]]:
    """Return the tables that code *captions* in few bits."""
    counts = {name: np.zeros(shape) for name, shape in shapes().items()}

    def count(name: str, context: tuple[int, ...], symbol: int) -> int:
        counts[name][(*context, symbol)] += 1
        return symbol

    for caption in captions:
        walk(count, caption)
    return {name: smooth_counts(table) for name, table in counts.items()}


def smooth_counts(counts: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Return *counts*, shape (contexts..., symbols), as smoothed frequencies of the same shape."""
    symbols = counts.shape[-1]
    chances = np.full(symbols, 1 / symbols)
    for known in range(counts.ndim):
        seen = counts.sum(axis=tuple(range(known, counts.ndim - 1)))
        shorter = chances if known == 0 else chances[..., None, :]
        chances = (seen + LEAN * shorter) / (seen.sum(-1, keepdims=True) + LEAN)
    return np.asarray(np.round(LEAST + chances * TOTAL), np.uint16)


def caption_cuts(cuts: Iterable[Cut], words: tuple[int, ...] = WORDS) -> list[Caption]:
    """Return what is said of *cuts* at each word limit, mirrored too; without labels they are plain pictures."""
    said = []
    for cut in cuts:
        if cut.labels is None:
            labels = np.full(cut.pixels.shape[:2], PICTURE, np.uint8)
        else:  # what sets of streets do not label has the number after their classes
            labels = np.where(cut.labels == CARD, UNKNOWN, cut.labels).astype(np.uint8)
        for turn in (slice(None), slice(None, None, -1)):
            said += [describe(labels[:, turn], cut.pixels[:, turn], limit) for limit in words]
    return said


def caption_training_pictures(street: Pictures, other: Pictures) -> list[Caption]:
    """Return what is said of pictures of streets, of other pictures and of test cards."""
    said = caption_cuts(street.whole(index, SIZE) for index in range(len(street)))
    said += caption_cuts((other.whole(index, SIZE) for index in range(len(other))), (48,))
    return said + card_captions()


def main() -> None:
    """Fit the tables to pictures of streets, to other pictures and to test cards; write them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--street", type=Path, required=True, help="pictures with labels beside them")
    parser.add_argument("--held-out", type=Path, help="the same, to measure on")
    parser.add_argument("--pictures", type=Path, required=True, help="any other pictures")
    parser.add_argument("--out", type=Path, default=link.weights.FOLDER / TABLE)
    arguments = parser.parse_args()
    street, other = Pictures.open(arguments.street), Pictures.open(arguments.pictures)
    tables = fit(caption_training_pictures(street, other))
    print(f"{arguments.out}: {write(tables, arguments.out)} bytes")
    if arguments.held_out is not None:
        shipped = {name: table.tolist() for name, table in tables.items()}
        held_out = Pictures.open(arguments.held_out)
        for words in WORDS:
            sizes = []
            for caption in caption_cuts((held_out.whole(at, SIZE) for at in range(len(held_out))), (words,)):
                data = encode(caption, shipped)
                if decode(data, shipped) != caption:
                    raise ValueError(f"not decoded as encoded: {caption.sentence()!r}")
                sizes.append(len(data))
            print(f"{words} words: {np.mean(sizes):.2f} bytes, at most {max(sizes)}")


def card_captions() -> list[Caption]:
    """Return what is said of some test cards."""
    cards = Cards(seed=11, label=CARD, size=SIZE)
    cuts = (cards.whole(index, SIZE) for index in range(CARDS))
    return [
        describe(cut.labels, cut.pixels, words) for cut in cuts if cut.labels is not None for words in WORDS
    ]


if __name__ == "__main__":
    main()
