"""A picture drawn whole and then refined object by object where its name is found: SGGIC's decoder.

    reference at half size, enlarged -> the whole, by the overall text -> object 1 -> object 2 -> object 3
            |-> soft mask of each name ----------------------------------- new * mask + old * (1 - mask)
            '-> steps, guidance (`receiver.dyndiff`)

The paper's eqs. 4 and 5. What steers a pass is the picture before it; a ControlNet that knows the codec's channels is
shown beside it those that the codec's own analysis makes of the enlarged reference: no bits, and on 3 streets 1 dB.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from link import transform
from link.codecs.objects import ObjectText
from link.frame import Pixels, scale
from link.threads import one_thread
from link.transform import grid, whole_cells
from receiver.conditioning import Conditioning
from receiver.diffusion import Diffusion
from receiver.dyndiff import DynDiff, Look
from receiver.generator import Generator, Sampling, to_picture, to_pixels
from receiver.guidance import finish
from receiver.masking import MaskFinder, SoftMask
from receiver.stages import open_course
from receiver.transform import Synthesis

_SEEN = 0.5 / 255.0
"""A mask that is nowhere above this changes no grey level."""


@dataclass(frozen=True)
class RefinementWish:
    """Everything known of one picture."""

    maps: NDArray[np.int32]
    """Rounded latents of the reference, shape (channels, rows, columns); zeros for channels that did not arrive."""
    arrived: NDArray[np.bool_]
    """Shape (channels,): which did."""
    caption: str
    """Of the whole."""
    objects: tuple[ObjectText, ...]
    size_bytes: int
    """Of the sections that arrived."""


class Reanalysis:
    """g_a of a transform folder, for pictures that the receiver has already; see `link.transform`."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    @classmethod
    def from_pretrained(cls, folder: Path) -> "Reanalysis":
        """Return the analysis transform in *folder*. Raise ModelMissingError where it is not whole."""
        return cls(transform.load(folder, "analysis"))

    @one_thread()
    @torch.inference_mode()
    def __call__(self, pixels: Pixels) -> NDArray[np.int32]:
        """Return the rounded latents of *pixels*, in whole cells: (channels, rows, columns)."""
        return np.asarray(self._network(to_picture(pixels))[0].round().to(torch.int32).numpy())


@dataclass(frozen=True)
class RefinementParts:
    """What a `RefiningGenerator` is made of."""

    generator: Generator | Diffusion
    synthesis: Synthesis
    finder: MaskFinder | None = None
    """None: no object is refined."""
    reanalysis: Reanalysis | None = None
    """For a generator that knows the codec's channels."""
    dyndiff: DynDiff | None = None
    """None: steps and guidance are fixed."""


class RefiningGenerator:
    """Draws pictures of *size* (width, height) of references of half of it, *half*.

    Objects take *object_steps* steps, None: as many as the whole.
    """

    def __init__(
        self,
        parts: RefinementParts,
        size: tuple[int, int],
        half: tuple[int, int],
        sampling: Sampling,
        object_steps: int | None,
    ) -> None:
        self.parts, self._size, self._half = parts, size, half
        self.adjust(sampling, object_steps)

    def adjust(self, sampling: Sampling, object_steps: int | None) -> None:
        """Draw as the arguments say from the next picture on."""
        self._sampling, self._object_steps = sampling, object_steps

    @one_thread()
    def generate(self, wishes: list[RefinementWish]) -> list[Pixels]:
        """Return one picture for each of *wishes*, in whole cells, drawn one after the other."""
        return [self._draw(wish) for wish in wishes]

    def _draw(self, wish: RefinementWish) -> Pixels:
        shown = self.reference(wish)
        known, how = self.recode(shown), self.choose(wish, shown)
        picture = self.draw(known, shown, wish.caption, how)
        steps = self._object_steps or how.steps
        for item in wish.objects:
            mask = self.find(picture if shown is None else shown, item)
            if mask is not None:
                new = self.draw(known, picture, item.prompt, replace(how, steps=steps))
                picture = blend(new, picture, mask)
        return picture

    def reference(self, wish: RefinementWish) -> Pixels | None:
        """Return the picture that arrived, enlarged and in whole cells; None where none did."""
        if not wish.arrived.any():
            return None
        width, height = self._half
        return whole_cells(scale(to_pixels(self.parts.synthesis(wish.maps))[:height, :width], self._size))

    def look(self, wish: RefinementWish, shown: Pixels) -> Look:
        """Return what steps and guidance are foretold from."""
        width, height = self._size
        seen = shown[:height, :width]
        agreement = 0.0 if self.parts.finder is None else self.parts.finder.agree(seen, wish.caption)
        return Look(seen, agreement, 8 * wish.size_bytes / (width * height))

    def choose(self, wish: RefinementWish, shown: Pixels | None) -> Sampling:
        """Return how the picture of *wish* is drawn; where no reference arrived nothing can be foretold."""
        if self.parts.dyndiff is None or shown is None:
            return self._sampling
        steps, guidance = self.parts.dyndiff.choose(self.look(wish, shown))
        return replace(self._sampling, steps=steps, guidance=guidance)

    def find(self, pixels: Pixels, item: ObjectText) -> SoftMask | None:
        """Return where *item* is in *pixels*, in whole cells; None where there is nothing to refine."""
        width, height = self._size
        if self.parts.finder is None:
            return None
        mask = self.parts.finder.find(pixels[:height, :width], item)
        if mask is None or float(mask.max()) < _SEEN:
            return None
        return np.pad(mask, ((0, pixels.shape[0] - height), (0, pixels.shape[1] - width)), mode="edge")

    def recode(self, shown: Pixels | None) -> NDArray[np.int32] | None:
        """Return the codec's channels of the reference *shown*, in whole cells; None where the generator knows none."""
        return None if shown is None or self.parts.reanalysis is None else self.parts.reanalysis(shown)

    @one_thread()
    @torch.no_grad()
    def draw(
        self, known: NDArray[np.int32] | None, before: Pixels | None, caption: str, how: Sampling
    ) -> Pixels:
        """Return the picture of one pass, steered by *caption* and the picture *before* it.

        *known* is what `recode` makes of the reference; *before* is in whole cells, None where there is none.
        """
        generator = self.parts.generator
        generator.adjust(how)
        none = np.zeros((generator.codec_channels, *grid(*self._size)), np.int32)
        maps, arrived = (none, False) if known is None else (known, True)
        latent = None if before is None else generator.see(before)
        wish = Conditioning(maps, np.full(len(maps), arrived), caption, latent)
        course = open_course(generator, wish, how.steps)
        return generator.picture(finish(course))


def blend(new: Pixels, old: Pixels, mask: SoftMask) -> Pixels:
    """Return *new* where *mask* is 1, *old* where it is 0, mixed between (eq. 5)."""
    share = mask[..., None].astype(np.float64)
    return np.asarray((share * new + (1.0 - share) * old).round().astype(np.uint8))
