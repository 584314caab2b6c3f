"""Test cards as training pictures: the source a first run shows, with other seeds than a run's default."""

import numpy as np
from PIL import Image

from scenarios.training.data import Cut, Labels, random_cut
from sender.camera.testcard import TestCard

CARDS = 48
FRAMES = 60


class Cards:
    """Cuts of test cards; all pixels of a card have class *label* where one is given."""

    def __init__(self, seed: int, label: int | None = None, size: tuple[int, int] = (256, 192)) -> None:
        self._cards = [TestCard(*size, seed * 1000 + number) for number in range(CARDS)]
        self._label = label

    def _labels(self, size: tuple[int, int]) -> Labels | None:
        return None if self._label is None else np.full(size[::-1], self._label, np.uint8)

    def whole(self, index: int, size: tuple[int, int]) -> Cut:
        """Return card *index* at *size*."""
        card = self._cards[index % CARDS]
        picture = Image.fromarray(card.frame(index // CARDS % FRAMES)).resize(size)
        return Cut(np.asarray(picture), self._labels(size))

    def random_cut(self, rng: np.random.Generator, size: tuple[int, int], zoom: tuple[float, float]) -> Cut:
        """Return a random window of a random card, never flipped: cards hold writing."""
        card = self._cards[int(rng.integers(CARDS))]
        picture = Image.fromarray(card.frame(int(rng.integers(FRAMES))))
        cut = random_cut(rng, picture, None, size, zoom, flips=False)
        return Cut(cut.pixels, self._labels(size))
