"""Flow and ControlNet trained together, to go on from weights that were trained apart.

The paper freezes its base, which has seen the whole world; a tiny base has not, and what it has to learn anew (a new
kind of picture, other channels) it learns best where it is used: steered. The loss is the control's; where no channel
arrived it is the flow's own.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from receiver.text_encoder import embed
from scenarios.training.control import Control, ControlSetup
from scenarios.training.flow import save_text


class Joint(Control):
    """Trains transformer, text encoders and ControlNet; VAE and synthesis stay as they are."""

    name = "joint"

    def __init__(self, setup: ControlSetup) -> None:
        super().__init__(setup)
        clip, t5 = setup.text.modules()
        self.modules.update(
            {"transformer": setup.parts.transformer, "text_encoder": clip, "text_encoder_2": t5}
        )
        self.modules.requires_grad_(True).train()

    def _told(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        return embed(self._text, captions)

    def save(self, folder: Path) -> None:
        """Write the parts in the layout that the receiver loads."""
        super().save(folder)
        save_text(self._text, folder)
        transformer: Any = self._parts.transformer
        transformer.save_pretrained(folder / "transformer")
        self._parts.scheduler.save_pretrained(folder / "scheduler")
