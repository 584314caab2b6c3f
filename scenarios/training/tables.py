"""Learn the tables of the latent coder: `fit(maps)` of a transform's symbols, and `report()` on others.

    maps ──► features of neighbours ──► P(symbol) = softmax(base + skew phi + spread psi) ──► integers
                                                │                                               │
                 lengths in bytes ◄─────────────┘              counts in cells of (skew, spread) ◄┘

For each channel a log-linear model of rank two is fitted: *phi* and *psi* say what each symbol has to do with the
sums, and the sums are linear in the neighbours' signs and sizes, in the place, and in the logarithm of the section's
length. The sums are then cut into cells, and each cell's frequencies are counts, drawn towards the model.
The lengths depend on the model and the model on the lengths, so both are made in turns.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from link.bitstream.latent import BITS, CLIP, LEVELS, OFFSETS, LatentTables, encode
from link.seeds import generator

Array = NDArray[Any]

REACH = 24
"""Symbols farther from 0 are escaped."""
MODELLED = 1500
"""Maps that the log-linear model is fitted on; all are counted."""
ROUNDS = 3
"""The first without the sections' lengths."""
STEPS = (45, 20, 15)
"""Iterations in each round."""
LEAST_SEEN = 200
"""Symbols other than 0 that a channel needs for a model of its neighbours; with fewer it would learn them by heart."""
UNIT = 48
"""Integers for one unit of a sum, which is about one logit."""
SKEW_CELLS, SPREAD_CELLS = 12, 20
STRENGTH = 25.0
"""Symbols that the model counts for in each cell."""
END_BITS = -1.5
"""Rounded up to bytes after this is added, a cost gives a section's length on the average."""


def fit(maps: Array, seed: int = 0) -> LatentTables:
    """Return tables learned from *maps*, integers of shape (N, n, H, W)."""
    if maps.ndim != 4 or maps.dtype.kind not in "iu" or not maps.size:
        raise ValueError(f"expected integers of shape (N, n, H, W), got {maps.dtype} of {maps.shape}")
    n = maps.shape[1]
    parts = [_fit_channel(maps[:, channel], generator(seed, f"tables{channel}")) for channel in range(n)]
    arrays = {key: np.stack([part[key] for part in parts]) for key in parts[0] if key != "frequencies"}
    arrays["frequencies"] = np.concatenate([part["frequencies"] for part in parts])
    arrays["channels"] = np.array([n], np.int32)
    return LatentTables.from_arrays(arrays)


def features(maps: Array) -> Array:
    """Return what is seen around each symbol of *maps* (N, H, W): shape (N, H, W, 4, neighbours)."""
    _, height, width = maps.shape
    padded = np.pad(np.clip(maps, -CLIP, CLIP).astype(np.float32), ((0, 0), (3, 0), (3, 3)))
    around = np.stack(
        [padded[:, 3 + dy : 3 + dy + height, 3 + dx : 3 + dx + width] for dy, dx in OFFSETS], -1
    )
    return _basis(around, axis=-2)


def _basis(values: Array, axis: int) -> Array:
    """Return sign, further size with the sign, whether it is not 0, and log2 of the size."""
    sign, size = np.sign(values), np.abs(values)
    return np.stack([sign, values - sign, np.minimum(size, 1), np.log2(np.maximum(size, 1))], axis)


@dataclass
class _Model:
    """The log-linear model of one channel; the arrays are views into one vector, as the optimiser wants it."""

    vector: Array
    inputs: int
    places: int
    symbols: int

    def parts(self) -> list[Array]:
        """Return weights (inputs, 2), places (places, 2), base, phi, psi and the weight of the length."""
        sizes = [2 * self.inputs, 2 * self.places, self.symbols, self.symbols, self.symbols, 1]
        weights, places, base, phi, psi, length = np.split(self.vector, np.cumsum(sizes)[:-1])
        return [weights.reshape(-1, 2), places.reshape(-1, 2), base, phi, psi, length]

    def sums(self, seen: Array, lengths: Array) -> Array:
        """Return (skew, spread) of every symbol; *seen* is (maps * places, inputs), *lengths* one a map."""
        weights, places, _, _, _, length = self.parts()
        found = (seen @ weights.astype(np.float32)).reshape(-1, self.places, 2) + places.astype(np.float32)
        found[..., 1] += (length[0] * lengths[:, None]).astype(np.float32)
        return np.asarray(found.reshape(-1, 2))

    def logits(self, sums: Array) -> Array:
        """Return the natural logarithm of each symbol's probability."""
        _, _, base, phi, psi, _ = self.parts()
        found = sums @ np.stack([phi, psi]).astype(np.float32) + base.astype(np.float32)
        found = found - found.max(1, keepdims=True)
        return np.asarray(found - np.log(np.exp(found).sum(1, keepdims=True)))

    def bits(self, seen: Array, lengths: Array, index: Array) -> Array:
        """Return the cost of each map."""
        logits = self.logits(self.sums(seen, lengths))
        picked = np.take_along_axis(logits, index[:, None], 1)
        return np.asarray(-picked.reshape(-1, self.places).sum(1) / np.log(2))


def _start(index: Array, reach: int, inputs: int, places: int) -> _Model:
    symbols = np.arange(-reach, reach + 1)
    size = np.abs(symbols)
    counts = np.bincount(index, minlength=len(symbols)) + 0.5
    base = np.log(counts / counts.sum())
    phi = np.sign(symbols) * np.sqrt(size)
    psi = (size > 0) * (1 + np.log2(np.maximum(size, 1)))
    vector = np.concatenate([np.zeros(2 * (inputs + places)), base, phi, psi, [0.0]])
    return _Model(vector, inputs, places, len(symbols))


def _improve(model: _Model, seen: Array, lengths: Array, index: Array, steps: int) -> _Model:
    """Return the model after *steps* of L-BFGS; weights are drawn to 0, the rest to where it started."""
    ridge = _Model(np.empty_like(model.vector), model.inputs, model.places, model.symbols)
    for part, strength in zip(ridge.parts(), (1.0, 6.0, 0.1, 3.0, 3.0, 0.1), strict=True):
        part[:] = strength
    home = model.vector.copy()
    home[: 2 * (model.inputs + model.places)] = 0
    home[-1] = 0
    row = np.arange(len(index))

    def loss(vector: Array) -> tuple[float, Array]:
        at = _Model(vector, model.inputs, model.places, model.symbols)
        _, _, _, phi, psi, _ = at.parts()
        sums = at.sums(seen, lengths)
        logits = at.logits(sums)
        total = -logits[row, index].sum(dtype=np.float64)
        error = np.exp(logits)
        error[row, index] -= 1
        back = error @ np.stack([phi, psi], 1).astype(np.float32)
        by_map = back.reshape(-1, at.places, 2)
        both = sums.T @ error
        gradient = np.concatenate(
            [
                (seen.T @ back).ravel(),
                by_map.sum(0, dtype=np.float64).ravel(),
                error.sum(0, dtype=np.float64),
                both[0],
                both[1],
                [by_map[..., 1].sum(1, dtype=np.float64) @ lengths],
            ]
        )
        away = vector - home
        total += 0.5 * float(ridge.vector @ (away * away))
        return total / len(index), (gradient + ridge.vector * away) / len(index)

    found = minimize(loss, model.vector, jac=True, method="L-BFGS-B", options={"maxiter": steps})
    return _Model(found.x, model.inputs, model.places, model.symbols)


def _log_length(size_bytes: Array) -> Array:
    return np.asarray(np.log(size_bytes + 1.0))


def _settle(model: _Model, seen: Array, index: Array, sizes: Array) -> Array:
    """Return the bytes of each map when its own length is its context."""
    for _ in range(2):
        bits = model.bits(seen, _log_length(sizes), index)
        sizes = np.maximum(1, np.ceil((bits + END_BITS) / 8))
    return sizes


def _fit_channel(maps: Array, rng: np.random.Generator) -> dict[str, Array]:
    # No bytes stand for a map of zeros. Where such maps are common and the others busy, counting them along would
    # make the likeliest length of a busy map that of an empty one, and the length would tell the contrary.
    some = maps.any((1, 2))
    maps = maps[some] if some.any() else maps
    count, height, width = maps.shape
    places = height * width
    reach = int(np.clip(np.abs(maps.astype(np.int64)).max(), 1, REACH))
    index = (np.clip(maps, -reach, reach).astype(np.int64) + reach).reshape(count, places)
    chosen = np.sort(rng.permutation(count)[:MODELLED])
    seen = features(maps[chosen]).reshape(len(chosen) * places, -1)
    picked = index[chosen].ravel()
    model = _start(picked, reach, seen.shape[1], places)
    sizes = np.zeros(len(chosen))
    for turn in range(ROUNDS if np.count_nonzero(maps) >= LEAST_SEEN else 0):
        model = _improve(model, seen, _log_length(sizes), picked, STEPS[turn])
        sizes = _settle(model, seen, picked, sizes)
    return _tabulate(model, maps, index, reach)


def _integers(model: _Model, height: int, width: int) -> dict[str, Array]:
    """Return the model's sums as tables of integers."""
    weights, places, _, _, _, length = model.parts()
    values = _basis(np.arange(-CLIP, CLIP + 1.0), axis=0)
    neighbours = np.einsum("bv,bks->svk", values, weights.reshape(4, len(OFFSETS), 2))
    levels = length[0] * _log_length(np.arange(LEVELS))
    tables = {
        "neighbours": neighbours,
        "places": places.T.reshape(2, height, width),
        "levels": levels,
    }
    # A symbol that was never seen at some place can get weights without bounds; int16 and the span have some.
    return {key: np.rint(np.clip(part * UNIT, -1500, 1500)).astype(np.int16) for key, part in tables.items()}


def _edges(values: Array, cells: int) -> Array:
    """Return where *values* are cut: half by rank, half evenly, so that rare large sums have cells as well."""
    ordered = np.sort(values)
    low, high = np.quantile(ordered, [0.0005, 0.9995])
    # The place of a value in (rank + linear) / 2, inverted on a grid.
    grid = np.linspace(low, high, 4096)
    rank = np.searchsorted(ordered, grid) / len(ordered)
    place = 0.3 * rank + 0.7 * (grid - low) / max(high - low, 1e-9)
    cuts = np.interp(np.arange(1, cells) / cells, place, grid)
    return np.rint(cuts).astype(np.int32)


def _tabulate(model: _Model, maps: Array, index: Array, reach: int) -> dict[str, Array]:
    count, height, width = maps.shape
    tables = _integers(model, height, width)
    sums, sizes = [], []
    for at in range(0, count, MODELLED):
        part = maps[at : at + MODELLED]
        seen = features(part).reshape(part.size, -1)
        size = _settle(model, seen, index[at : at + MODELLED].ravel(), np.full(len(part), 8.0))
        sizes.append(size)
        sums.append(_integer_sums(part, tables, np.minimum(size, LEVELS - 1).astype(np.int64)))
    both = np.concatenate(sums).reshape(-1, 2)
    symbols = index.ravel()
    edges = [_edges(both[:, at], cells) for at, cells in enumerate((SKEW_CELLS, SPREAD_CELLS))]
    skew, spread = (np.searchsorted(cut, both[:, at], side="right") for at, cut in enumerate(edges))
    cells = SKEW_CELLS * SPREAD_CELLS
    cell = spread * SKEW_CELLS + skew
    symbols_each = 2 * reach + 2
    counts = (
        np.bincount(cell * symbols_each + symbols, minlength=cells * symbols_each)
        .reshape(cells, symbols_each)
        .astype(float)
    )
    frequencies = _frequencies(counts, _expected(model, both, cell, edges))
    return {
        **tables,
        "skew_edges": edges[0],
        "spread_edges": edges[1],
        "reach": np.array(reach, np.uint8),
        "frequencies": frequencies.ravel(),
    }


def _integer_sums(maps: Array, tables: dict[str, Array], sizes: Array) -> Array:
    """Return (skew, spread) of every symbol as the coder has them, shape (N, H, W, 2)."""
    _, height, width = maps.shape
    clipped = np.pad(np.clip(maps, -CLIP, CLIP).astype(np.int64), ((0, 0), (3, 0), (3, 3))) + CLIP
    sums = np.zeros((*maps.shape, 2), np.int64) + tables["places"].transpose(1, 2, 0)
    for at, (dy, dx) in enumerate(OFFSETS):
        around = clipped[:, 3 + dy : 3 + dy + height, 3 + dx : 3 + dx + width]
        sums += tables["neighbours"][:, :, at].T[around]
    sums[..., 1] += tables["levels"][sizes][:, None, None]
    return sums


def _expected(model: _Model, both: Array, cell: Array, edges: list[Array]) -> Array:
    """Return the model's probabilities in each cell: at the mean of its sums, or near its edges where it is empty."""
    cells = SKEW_CELLS * SPREAD_CELLS
    middle = [np.interp(np.arange(len(cut) + 1), np.arange(len(cut)) + 0.5, cut) for cut in edges]
    home = np.stack(np.broadcast_arrays(middle[0][None, :], middle[1][:, None]), -1).reshape(-1, 2)
    number = np.bincount(cell, minlength=cells)[:, None]
    total = np.stack([np.bincount(cell, both[:, at], cells) for at in range(2)], 1)
    mean = (total + home) / (number + 1)
    return np.asarray(np.exp(model.logits((mean / UNIT).astype(np.float32))))


def _frequencies(counts: Array, expected: Array) -> Array:
    """Return integers of at least 1 that add up to 2**BITS in each cell; the escape is the last."""
    rare = 1e-4
    model = np.concatenate([expected * (1 - rare), np.full((len(expected), 1), rare)], 1)
    found = counts + STRENGTH * model
    found /= found.sum(1, keepdims=True)
    whole = np.maximum(1, np.floor(found * (1 << BITS))).astype(np.int64)
    likeliest = whole.argmax(1)
    whole[np.arange(len(whole)), likeliest] += (1 << BITS) - whole.sum(1)
    return np.asarray(whole.astype(np.uint16))


def report(tables: LatentTables, train: Array, held_out: Array) -> dict[str, Array]:
    """Return bits a map, by channel, of *held_out* (N, n, H, W): `coded`, and ideal codes fitted to *train*.

    `coded` counts whole bytes. `laplace` is one discretised Laplace distribution a channel, with the mean and the
    width that suit *train* best, and `histogram` is the frequencies of *train* with 0.5 added to each.
    """
    channels = range(tables.n)
    sizes = [[len(data) for data in encode(maps, channels, tables)] for maps in held_out]
    pairs = [(train[:, at].ravel(), held_out[:, at].ravel()) for at in channels]
    area = held_out.shape[2] * held_out.shape[3]
    return {
        "coded": 8 * np.mean(sizes, 0),
        "laplace": area * np.array([_laplace(*pair) for pair in pairs]),
        "histogram": area * np.array([_histogram(*pair) for pair in pairs]),
    }


def print_report(found: dict[str, Array]) -> None:
    """Print `report()` as a table, with what is saved on the Laplace distribution."""
    print(f"{'channel':>8}" + "".join(f"{name:>11}" for name in found) + f"{'saved':>9}")
    rows = [(str(at), [part[at] for part in found.values()]) for at in range(len(found["coded"]))]
    rows.append(("all", [part.sum() for part in found.values()]))
    for name, row in rows:
        print(f"{name:>8}" + "".join(f"{bits:11.1f}" for bits in row) + f"{1 - row[0] / row[1]:9.1%}")


def _laplace(train: Array, held_out: Array) -> float:
    """Return bits a symbol under the discretised Laplace distribution that suits *train* best."""
    top = int(max(np.abs(train).max(), np.abs(held_out).max()))
    symbols = np.arange(-top, top + 1)
    counts = np.bincount(train.astype(np.int64) + top, minlength=len(symbols))
    best = (np.inf, symbols.astype(float))
    mean = float(train.mean())
    for centre in {0.0, mean, float(np.median(train)), mean / 2}:
        for width in np.geomspace(0.03, 30, 250):
            edges = np.append(symbols - 0.5, top + 0.5) - centre
            tail = 0.5 * np.exp(-np.abs(edges) / width)
            cdf = np.where(edges < 0, tail, 1 - tail)
            # The difference of two tails on one side, else rounding makes the far ones 0.
            mass = np.where(edges[:-1] >= 0, tail[:-1] - tail[1:], np.diff(cdf))
            costs = -np.log2(np.maximum(mass, 1e-30))
            best = min(best, (float(counts @ costs), costs), key=lambda pair: pair[0])
    return float(best[1][held_out.astype(np.int64) + top].mean())


def _histogram(train: Array, held_out: Array) -> float:
    """Return bits a symbol under the frequencies of *train*."""
    top = int(max(np.abs(train).max(), np.abs(held_out).max()))
    counts = np.bincount(train.astype(np.int64) + top, minlength=2 * top + 1) + 0.5
    return float(-np.log2(counts / counts.sum())[held_out.astype(np.int64) + top].mean())
