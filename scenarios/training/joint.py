"""Flow and ControlNet trained together, to go on from weights that were trained apart.

The paper freezes its base, which has seen the whole world; a tiny base has not, and what it has to learn anew (a new
kind of picture, other channels) it learns best where it is used: steered. The loss is the control's; where no channel
arrived it is the flow's own.
"""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from receiver.parts import Parts
from receiver.text_encoder import TextEncoder, embed
from scenarios.training.control import Control
from scenarios.training.examples import ExampleSource
from scenarios.training.flow import save_text


class Joint(Control):
    """Trains transformer, text encoders and ControlNet; VAE and synthesis stay as they are."""

    name = "joint"

    def __init__(
        self,
        examples: ExampleSource,
        held_out: ExampleSource,
        parts: Parts,
        text: TextEncoder,
        synthesis: nn.Module,
        batch: int,
        start: Path | None = None,
    ) -> None:
        super().__init__(examples, held_out, parts, text, synthesis, batch, start)
        clip, t5 = text.modules()
        self.modules.update({"transformer": parts.transformer, "text_encoder": clip, "text_encoder_2": t5})
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
