"""What was published for the data sets that farlink reads: the points that are drawn beside one's own.

All are of Tables 1 to 3 of "Generative Semantic Coding for Ultra-Low Bitrate Visual Communication and Analysis"
(Chen, Wang, Zhu, Zhu, He), which measured PerCo and MS-ILLM as well. Their rates are payload, without packets.
Models and subsets are the paper's: Depth-Anything-V2-Large on KITTI at 1216x352 and on Hypersim, Mask2Former
Swin-L on a subset of Cityscapes at 2048x1024, YOLO11x on a subset of COCO 2017.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

CITATION = (
    "Chen, Wang, Zhu, Zhu, He: Generative Semantic Coding for Ultra-Low Bitrate Visual Communication "
    "and Analysis, Tables 1 to 3"
)
_GSC, _PERCO, _MSILLM, _TEXT = "GSC, paper", "PerCo, paper", "MS-ILLM, paper", "text only, paper"
METHODS = (_GSC, _PERCO, _MSILLM, _TEXT)


@dataclass(frozen=True)
class PublishedTable:
    """One data set's part of a table: each method's points (payload bits per pixel, then the scores by *keys*)."""

    task: str
    where: str
    """Table, data set and model, in words."""
    keys: tuple[str, ...]
    original: tuple[float, ...]
    methods: Mapping[str, tuple[tuple[float, ...], ...]]

    def line(self, method: str, key: str) -> list[tuple[float, float]]:
        """Return (bpp, score) of each point of *method*."""
        column = self.keys.index(key)
        return [(row[0], row[1 + column]) for row in self.methods[method]]


def find_published(source: str, task: str, key: str) -> PublishedTable | None:
    """Return the table of the data set that *source* is of, where it has this score; else None."""
    table = PUBLISHED.get(source.partition(":")[0])
    return table if table is not None and table.task == task and key in table.keys else None


_KITTI = PublishedTable(
    "depth",
    "Table 1, KITTI, Depth-Anything-V2-Large",
    ("delta1", "delta2", "delta3", "abs_rel", "rmse", "rmse_log"),
    (0.891, 0.981, 0.995, 0.109, 3.557, 0.149),
    MappingProxyType(
        {
            _GSC: (
                (0.0069, 0.796, 0.931, 0.976, 0.170, 5.652, 0.223),
                (0.0074, 0.834, 0.950, 0.985, 0.148, 4.947, 0.197),
                (0.0081, 0.852, 0.965, 0.989, 0.134, 4.495, 0.179),
                (0.0104, 0.859, 0.968, 0.991, 0.129, 4.386, 0.174),
                (0.0150, 0.866, 0.973, 0.992, 0.123, 4.051, 0.166),
            ),
            _PERCO: (
                (0.0037, 0.619, 0.816, 0.910, 0.300, 8.631, 0.361),
                (0.0329, 0.808, 0.943, 0.979, 0.153, 5.468, 0.215),
            ),
            _MSILLM: (
                (0.0079, 0.197, 0.352, 0.493, 0.483, 14.108, 0.953),
                (0.0124, 0.506, 0.699, 0.799, 0.283, 10.594, 0.529),
                (0.0539, 0.777, 0.912, 0.959, 0.149, 6.519, 0.255),
            ),
            _TEXT: ((0.0063, 0.255, 0.538, 0.720, 0.756, 15.906, 0.611),),
        }
    ),
)

_HYPERSIM = PublishedTable(
    "depth",
    "Table 1, Hypersim, Depth-Anything-V2-Large",
    _KITTI.keys,
    (0.746, 0.937, 0.978, 0.184, 1.281, 0.216),
    MappingProxyType(
        {
            _GSC: (
                (0.0026, 0.615, 0.837, 0.907, 0.288, 1.763, 0.334),
                (0.0028, 0.627, 0.847, 0.907, 0.254, 1.667, 0.304),
                (0.0032, 0.663, 0.896, 0.934, 0.227, 1.492, 0.269),
                (0.0043, 0.668, 0.892, 0.952, 0.225, 1.447, 0.261),
                (0.0064, 0.711, 0.912, 0.959, 0.211, 1.375, 0.242),
            ),
            _PERCO: (
                (0.0037, 0.440, 0.693, 0.810, 0.465, 2.317, 0.492),
                (0.0329, 0.691, 0.893, 0.940, 0.233, 1.499, 0.275),
            ),
            _MSILLM: (
                (0.0049, 0.276, 0.501, 0.663, 0.484, 2.936, 0.674),
                (0.0075, 0.438, 0.688, 0.808, 0.379, 2.322, 0.480),
                (0.0327, 0.650, 0.891, 0.944, 0.223, 1.522, 0.270),
            ),
            _TEXT: ((0.0023, 0.364, 0.604, 0.771, 0.697, 2.795, 0.574),),
        }
    ),
)

_CITYSCAPES = PublishedTable(
    "segmentation",
    "Table 2, Cityscapes, Mask2Former Swin-L",
    ("aacc", "miou", "macc"),
    (0.9637, 0.8228, 0.8860),
    MappingProxyType(
        {
            _GSC: (
                (0.0011, 0.8525, 0.4784, 0.5836),
                (0.0013, 0.8837, 0.5430, 0.6506),
                (0.0015, 0.9054, 0.6109, 0.7151),
                (0.0023, 0.9094, 0.6344, 0.7157),
                (0.0039, 0.9344, 0.7073, 0.7809),
            ),
            _PERCO: ((0.0037, 0.6726, 0.2170, 0.3117), (0.0330, 0.8247, 0.3830, 0.4752)),
            _MSILLM: (
                (0.0038, 0.6353, 0.1561, 0.2211),
                (0.0064, 0.7618, 0.2938, 0.3869),
                (0.0310, 0.9060, 0.6068, 0.7086),
            ),
            _TEXT: ((0.0009, 0.3943, 0.0845, 0.1528),),
        }
    ),
)

_COCO = PublishedTable(
    "detection",
    "Table 3, COCO 2017, YOLO11x",
    ("precision", "recall", "map50_95", "map50", "map75"),
    (0.944, 0.743, 0.763, 0.835, 0.799),
    MappingProxyType(
        {
            _GSC: (
                (0.0044, 0.894, 0.699, 0.568, 0.767, 0.601),
                (0.0051, 0.838, 0.710, 0.623, 0.765, 0.685),
                (0.0063, 0.903, 0.752, 0.697, 0.813, 0.774),
                (0.0094, 0.882, 0.739, 0.701, 0.817, 0.746),
                (0.0155, 0.938, 0.733, 0.744, 0.820, 0.781),
            ),
            _PERCO: (
                (0.0037, 0.813, 0.673, 0.455, 0.709, 0.507),
                (0.0329, 0.900, 0.720, 0.697, 0.785, 0.760),
            ),
            _MSILLM: (
                (0.0086, 0.405, 0.217, 0.123, 0.179, 0.132),
                (0.0122, 0.406, 0.350, 0.273, 0.344, 0.274),
                (0.0496, 0.857, 0.536, 0.600, 0.679, 0.635),
            ),
            _TEXT: ((0.0037, 0.481, 0.350, 0.092, 0.327, 0.022),),
        }
    ),
)

PUBLISHED: Mapping[str, PublishedTable] = MappingProxyType(
    {"kitti": _KITTI, "hypersim": _HYPERSIM, "cityscapes": _CITYSCAPES, "coco": _COCO}
)
"""Source prefix to table."""
