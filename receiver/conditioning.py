"""What steers the generator, whatever the codec."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from receiver.guidance import ObjectWish


@dataclass(frozen=True)
class Conditioning:
    """Everything known of one picture. What did not arrive is absent, not guessed."""

    maps: NDArray[np.int32]
    """Rounded latents, shape (channels, rows, columns); zeros for channels that did not arrive."""
    arrived: NDArray[np.bool_]
    """Shape (channels,): which did."""
    caption: str = ""
    """Empty: none."""
    latent: NDArray[np.float32] | None = None
    """Latents of the generator's VAE that a codec sent in place of channels, normalised, shape (latent channels, 2 x
    rows, 2 x columns); None: it sent none."""
    objects: tuple[ObjectWish, ...] = ()
    """What is drawn one by one before the whole, by `receiver.stages.StagedGenerator`; others draw the whole alone."""

    def __post_init__(self) -> None:
        """Check that the shapes fit each other."""
        if self.maps.ndim != 3 or self.arrived.shape != self.maps.shape[:1]:
            raise ValueError(
                f"maps {self.maps.shape} and arrived {self.arrived.shape}: expected (channels, rows, columns) "
                "and (channels,)"
            )
        if self.latent is not None and self.latent.shape[1:] != tuple(
            2 * side for side in self.maps.shape[1:]
        ):
            raise ValueError(
                f"latent {self.latent.shape} beside maps {self.maps.shape}: expected twice their size"
            )
