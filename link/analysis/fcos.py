"""A one-stage detector of any size: torchvision's FCOS (Tian et al. 2019) on a transformers ResNet, in a folder.

    pictures -> ResNet stages -> feature pyramid -> at each place: class, box, centreness -> non-maximum suppression

torchvision's models have no `from_pretrained`; huggingface_hub's mixin gives them one: `config.json` holds the sizes
and the names of the classes, `model.safetensors` the weights.
"""

from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS
from torchvision.ops import FeaturePyramidNetwork
from transformers import ResNetBackbone, ResNetConfig

MODEL_TYPE = "fcos"


class Pyramid(nn.Module):
    """A ResNet's stages, and a pyramid of *features* channels over them."""

    def __init__(self, sizes: list[int], depths: list[int], features: int) -> None:
        super().__init__()
        config = ResNetConfig(embedding_size=sizes[0], hidden_sizes=sizes, depths=depths, layer_type="basic")
        config.out_features = [f"stage{at + 1}" for at in range(len(sizes))]
        self.body = ResNetBackbone(config)
        self.fpn = FeaturePyramidNetwork(sizes, features)
        self.out_channels = features
        """The name by which torchvision asks for the channels."""

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Return the levels of the pyramid, at 1/4, 1/8, 1/16, ... of the resolution."""
        maps = self.body(pixel_values=pictures).feature_maps
        levels: dict[str, Tensor] = self.fpn({str(at): level for at, level in enumerate(maps)})
        return levels


class FcosDetector(nn.Module, PyTorchModelHubMixin):
    """Finds things of the classes *names* in pictures of *size* (width, height).

    Classes are numbered as *names*; torchvision has no background class here. *shown_score* is the least score of a box
    that is drawn for people, chosen on held-out pictures; None: nobody has chosen one.
    """

    def __init__(
        self,
        names: list[str],
        size: list[int],
        sizes: list[int],
        depths: list[int],
        features: int = 64,
        mean: float = 0.45,
        deviation: float = 0.25,
        model_type: str = MODEL_TYPE,
        shown_score: float | None = None,
    ) -> None:
        super().__init__()
        if model_type != MODEL_TYPE:
            raise ValueError(f"expected the settings of a {MODEL_TYPE}, got those of a {model_type!r}")
        self.names, self.size, self.shown_score = names, size, shown_score
        levels = range(len(sizes))
        # A level's boxes reach 4 to 8 times its anchor: up to 32 pixels on the finest, and so on.
        anchors = AnchorGenerator(tuple((4 << at,) for at in levels), ((1.0,),) * len(sizes))
        kind: Any = FCOS
        self.fcos = kind(
            Pyramid(sizes, depths, features),
            len(names),
            min_size=min(size),
            max_size=max(size),
            image_mean=[mean] * 3,
            image_std=[deviation] * 3,
            anchor_generator=anchors,
            score_thresh=0.05,
            nms_thresh=0.6,
            detections_per_img=100,
            topk_candidates=300,
        )

    @classmethod
    def _from_pretrained(cls, **options: Any) -> Any:
        """Load as the mixin does, which tells stdout of it: that is for results."""
        with redirect_stdout(StringIO()):
            return super()._from_pretrained(**options)

    def forward(self, pictures: Tensor, targets: list[dict[str, Tensor]] | None = None) -> Any:
        """Return torchvision's losses in training, else for each picture its boxes, labels and scores.

        *pictures* has shape (batch, 3, height, width), 0 to 1; boxes are left, top, right, bottom in pixels.
        """
        return self.fcos(list(pictures), targets)
