"""How alike two sets of pictures are: FID and KID on Inception's features, KID on AlexNet's, or on any other.

Both look at the whole set, so a few pictures say little: FID is biased upwards by about one over their number, and
its values are comparable only between sets of one size. KID has no such bias, but a wide spread.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from link.errors import ModelMissingError
from link.frame import Pixels
from link.seeds import generator

INCEPTION = "pt_inception-2015-12-05-6726825d.pth"
"""The weights of the TensorFlow Inception that FID is defined by, in PyTorch's form; the name ends in its SHA-256."""
CLASSES = 1008
SUBSETS, SUBSET_SIZE = 100, 1000
"""Those of Bińkowski et al. (2018)."""
_BATCH = 16

Features = NDArray[np.float64]


def fid(a: Features, b: Features) -> float:
    """Return the Fréchet distance between Gaussians fitted to *a* (N, D) and *b* (M, D) (Heusel et al. 2017).

    The trace of the root of the covariances' product is the sum of the singular values of one factor times the
    other, so no root of a matrix is taken, and sets smaller than D are no special case.
    Raise ValueError where a set has fewer than two pictures.
    """
    _check(a, b)
    factors: list[Features] = []
    for features in (a, b):
        centred = (features - features.mean(0)) / np.sqrt(len(features) - 1)
        many = len(centred) > centred.shape[1]
        factors.append(np.asarray(np.linalg.qr(centred, mode="r")) if many else centred)
    apart = float(((a.mean(0) - b.mean(0)) ** 2).sum())
    spreads = sum(float((factor**2).sum()) for factor in factors)
    shared = float(np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False).sum())
    return max(0.0, apart + spreads - 2.0 * shared)


def kid(a: Features, b: Features, seed: int) -> float:
    """Return the kernel distance between *a* (N, D) and *b* (M, D) (Bińkowski et al. 2018).

    The unbiased squared MMD under (x.y / D + 1)^3; the mean over SUBSETS random subsets of SUBSET_SIZE where there
    are more, else of all at once. It may be below 0. Raise ValueError where a set has fewer than two pictures.
    """
    _check(a, b)
    if max(len(a), len(b)) <= SUBSET_SIZE:
        return _mmd(a, b)
    rng = generator(seed, "kid")
    distances = []
    for _ in range(SUBSETS):
        parts = [x[rng.permutation(len(x))[:SUBSET_SIZE]] for x in (a, b)]
        distances.append(_mmd(parts[0], parts[1]))
    return float(np.mean(distances))


def _mmd(a: Features, b: Features) -> float:
    def kernel(x: Features, y: Features) -> Features:
        return np.asarray((x @ y.T / x.shape[1] + 1.0) ** 3)

    def within(x: Features) -> float:
        products = kernel(x, x)
        return float((products.sum() - np.trace(products)) / (len(x) * (len(x) - 1)))

    return within(a) + within(b) - 2.0 * float(kernel(a, b).mean())


def _check(a: Features, b: Features) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"features have shapes {a.shape} and {b.shape}: (pictures, features) of one width expected"
        )
    if min(len(a), len(b)) < 2:
        raise ValueError(f"sets of {len(a)} and {len(b)} pictures: two or more expected")


def alexnet_features(pictures: Sequence[Pixels]) -> Features:
    """Return what AlexNet's last convolution says of each of *pictures* (H, W, 3), averaged over places, (N, 256).

    The weights come with farlink, so KID can be had everywhere with these; its name then says so.
    """
    import torch

    from scenarios.scoring.perceptual import alexnet_features as features

    batches = [
        features(torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None] / 255.0)
        for picture in pictures
    ]
    return torch.cat(batches).double().numpy() if batches else np.zeros((0, 256))


def inception_features(pictures: Sequence[Pixels], weights: Path) -> Features:
    """Return the 2048 features of each of *pictures* (H, W, 3), (N, 2048); *weights* is the file INCEPTION."""
    import torch
    from torch.nn import functional

    model = inception(weights)
    features = []
    with torch.inference_mode():
        for at in range(0, len(pictures), _BATCH):
            resized = [
                functional.interpolate(
                    torch.from_numpy(picture).permute(2, 0, 1)[None].float(), (299, 299), mode="bilinear"
                )
                for picture in pictures[at : at + _BATCH]
            ]
            features.append(model(torch.cat(resized) / 127.5 - 1.0).double().numpy())
    return np.concatenate(features) if features else np.zeros((0, 2048))


@cache
def inception(weights: Path) -> Any:
    """Return the Inception of FID with *weights*; it gives (N, 2048). Raise ModelMissingError where they are wrong.

    torchvision's is the same network but for pools: TensorFlow's averages leave out what lies beyond the edge, and
    the last block takes a maximum instead.
    """
    import torch
    from torch.nn import functional
    from torchvision.models import Inception3

    model = Inception3(num_classes=CLASSES, aux_logits=False, transform_input=False, init_weights=False)
    try:
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises its own for a damaged file, another for another network's
        raise ModelMissingError(
            f"{weights}: not the Inception of FID: {str(error).splitlines()[0]}"
        ) from None

    def average(x: Any) -> Any:
        return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)

    def highest(x: Any) -> Any:
        return functional.max_pool2d(x, 3, stride=1, padding=1)

    for name in ("5b", "5c", "5d", "6b", "6c", "6d", "6e", "7b"):
        _repool(getattr(model, f"Mixed_{name}"), average)
    _repool(model.Mixed_7c, highest)
    model.fc = torch.nn.Identity()  # type: ignore[assignment]
    return model.eval()


def _repool(block: Any, pool: Callable[[Any], Any]) -> None:
    """Let the last branch of *block* use *pool*."""
    branches = block._forward

    def forward(x: Any) -> list[Any]:
        return [*branches(x)[:-1], block.branch_pool(pool(x))]

    block._forward = forward
