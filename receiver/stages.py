"""A picture drawn in stages: each object in turn, then the whole, each stage steered by what the one before showed.

    reference -> object 1 -> decode, encode -> object 2 -> ... -> decode, encode -> overall text -> picture

`receiver.guidance` says what happens within a stage; here either generator gives its courses.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from link.frame import Pixels
from link.threads import one_thread
from receiver.attention import joint_attention
from receiver.conditioning import Conditioning
from receiver.course import Course
from receiver.diffusion import Diffusion, DiffusionCourse
from receiver.generator import Generator, Sampling, pack, unpack
from receiver.guidance import Guidance, GuidedCourse, finish, restore


class FlowCourse:
    """A course of FLUX's kind as `receiver.guidance` takes it; see `GuidedCourse`."""

    def __init__(self, generator: Generator, wish: Conditioning, steps: int) -> None:
        self._course: Course = generator.course(wish, steps)
        self._parts, self._text, self._caption = generator.parts, generator.text, wish.caption
        self._rows, self._columns = wish.maps.shape[1:]
        self.steps = steps

    def start(self) -> Tensor:
        """Return the noise that it starts from."""
        return self._unpacked(self._course.noise.float())

    def noised(self, latents: Tensor, at: int) -> Tensor:
        """Return what clean *latents* are before step *at*."""
        return self._unpacked(self._course.noised(pack(latents), at))

    def step(self, latents: Tensor, at: int) -> Tensor:
        """Return *latents* after step *at*."""
        return self._unpacked(self._course.step(pack(latents), at))

    def attention(self, latents: Tensor, at: int, words: str) -> Tensor:
        """Return the attention of the middle double block: (tokens, rows, columns).

        The paper watches the middle block of a U-Net's up branch; a transformer has no branches.
        """
        transformer = self._parts.transformer
        block = len(transformer.transformer_blocks) // 2
        maps = joint_attention(
            transformer,
            block,
            self._text.places(self._caption, words),
            lambda: self._course.velocity(pack(latents), at),
            whole=self._parts.offloaded,
        )
        return maps[0].view(-1, self._rows, self._columns)

    def _unpacked(self, tokens: Tensor) -> Tensor:
        return unpack(tokens, self._rows, self._columns)


class StagedGenerator:
    """Draws what `Conditioning.objects` asks for with *generator*, as *guidance* says, in *object_steps* steps each."""

    def __init__(
        self, generator: Generator | Diffusion, sampling: Sampling, object_steps: int, guidance: Guidance
    ) -> None:
        self._generator = generator
        self._set(sampling, object_steps, guidance)

    def adjust(self, sampling: Sampling, object_steps: int, guidance: Guidance) -> None:
        """Draw as the arguments say from the next picture on."""
        self._generator.adjust(sampling)
        self._set(sampling, object_steps, guidance)

    def _set(self, sampling: Sampling, object_steps: int, guidance: Guidance) -> None:
        self._steps, self._object_steps, self._guidance = sampling.steps, object_steps, guidance

    @one_thread()
    def generate(self, wishes: Sequence[Conditioning]) -> list[Pixels]:
        """Return one picture for each of *wishes*, shape (16 x rows, 16 x columns, 3), drawn one after the other."""
        with torch.no_grad():  # not inference mode, whose tensors take no gradient
            return [self._generator.picture(self.latents(wish)) for wish in wishes]

    def latents(self, wish: Conditioning) -> Tensor:
        """Return what is decoded in the end, shape (1, channels, height, width)."""
        shown = self._generator.reference(wish)
        passed: list[Tensor] | None = None
        for item in wish.objects:
            course = self._open(replace(wish, caption=item.caption, latent=shown), self._object_steps)
            if passed is None and shown is not None:
                passed = _at_each_step(course, shown)
            passed = restore(course, item, passed, self._guidance)
            shown = self._generator.look_again(passed[-1])
        return finish(self._open(replace(wish, latent=shown), self._steps))

    def _open(self, wish: Conditioning, steps: int) -> GuidedCourse:
        return open_course(self._generator, wish, steps)


def open_course(generator: Generator | Diffusion, wish: Conditioning, steps: int) -> GuidedCourse:
    """Return the way of the picture of *wish* in *steps* steps."""
    if isinstance(generator, Diffusion):
        return DiffusionCourse(generator, wish, steps)
    return FlowCourse(generator, wish, steps)


def _at_each_step(course: GuidedCourse, shown: NDArray[np.float32]) -> list[Tensor]:
    """Return the latents of a picture at hand after each step, at the noise that *course* starts from."""
    clean = torch.from_numpy(shown)[None].to(course.start())
    return [course.noised(clean, at + 1) for at in range(course.steps)]
