"""Streets that are drawn, with their labels, for trainings at toy size."""

import numpy as np
from PIL import Image

from link.seeds import generator


def street(number: int, size: tuple[int, int] = (96, 72)) -> tuple[Image.Image, Image.Image]:
    """A picture of sky, road and a car, and its labels."""
    width, height = size
    labels = np.full((height, width), 3, np.uint8)
    labels[: height // 2 + 2 * number] = 0
    labels[height // 2 : height // 2 + 20, 10 * number : 10 * number + 24] = 8
    labels[:, -4:] = 11
    colours = np.zeros((12, 3), np.uint8)
    colours[[0, 3, 8]] = [90, 140, 230], [95, 95, 90], [200, 30, 30]
    noise = generator(number, "street").integers(0, 12, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(colours[labels] + noise), Image.fromarray(labels)
