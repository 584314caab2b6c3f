"""Train the table of the caption coder: `python -m scenarios.training.text --captions DIR --out FILE`.

    captions -> symbols -> contexts -> counts -> pruned to the useful ones -> states -> Bloomier filter
                                         |
                                         +-> the same without one fold -> states met on that fold -> mixer

The counts come from all training captions, those of the domain weighted. What a state is worth, and how to
weigh the inputs, is learned by cross-validation: the captions of a fold meet counts that never saw
them, as a new caption will. Contexts are pruned by what they tell beyond a shorter one (Stolcke 1998,
"Entropy-based pruning of backoff language models"). A fifth of the domain's captions is never trained on.
"""

import argparse
import hashlib
import heapq
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save

from link.bitstream.text import (
    INPUTS,
    STATES,
    STATIC,
    SYMBOLS,
    Context,
    Repeats,
    TextTables,
    decode,
    encode,
    history_keys,
    paths,
    remember,
    slot,
    to_symbols,
)
from link.seeds import generator
from scenarios.training.captions import FOLDS, TEST, domain, general

OTHER = FOLDS + 1
"""The group of captions from outside the domain."""
DOMAIN_WEIGHT = 4
THIRD = 116_000
"""Cells in a third of the filter: two bytes each, 696 kB in all."""
LOAD = 0.805
"""Keys per cell; peeling a random 3-uniform hypergraph works up to 0.818 (Molloy 2005)."""
SHORTER = (None, 0, 1, 2, 3, 2, 5, 6, 5, 1)
"""For each context in `STATIC` the shorter one that it is pruned against."""
MISSING = 64
STEPS_PER_LOGIT = 128
REACH = 12
"""Logits beyond this are clamped."""

Array = npt.NDArray[Any]


def huffman(counts: Array) -> list[list[int]]:
    """Return Huffman's tree for *counts*: two children a node, -1 - symbol for a leaf, the root first."""
    heap: list[tuple[float, int, Any]] = [(float(count), at, at) for at, count in enumerate(counts)]
    heapq.heapify(heap)
    made = len(heap)
    while len(heap) > 1:
        (a, _, left), (b, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        heapq.heappush(heap, (a + b, made, (left, right)))
        made += 1
    tree: list[list[int]] = []

    def lay(branch: Any) -> int:
        if isinstance(branch, int):
            return -1 - branch
        node = len(tree)
        tree.append([])
        tree[node] = [lay(branch[0]), lay(branch[1])]
        return node

    lay(heap[0][2])
    return tree


class Decisions:
    """Every binary decision in the captions: its node, bit, document and contexts, as flat arrays.

    `recent` holds the states of the inputs that learn within a message, for decisions of the domain,
    which come first.
    """

    def __init__(self, texts: list[str], domain_texts: int, tree: list[list[int]]) -> None:
        routes = paths(tree)
        contexts, symbols, documents, recent = [], [], [], []
        for document, text in enumerate(texts):
            context, repeats = Context(), Repeats()
            for symbol, _ in to_symbols(text):
                contexts.append(context.hashes)
                symbols.append(symbol)
                documents.append(document)
                if document < domain_texts:
                    recent += recall(repeats, context, routes, symbol)
                    repeats.push(symbol)
                context.push(symbol)
        length = np.array([len(route) for route in routes])
        start = np.concatenate([[0], np.cumsum(length)])
        nodes = np.array([node for route in routes for node in route], np.uint64)
        bits = np.array([bit for route in routes for bit in route.values()], np.int64)
        which = np.array(symbols)
        position = np.repeat(np.arange(len(which)), length[which])
        first = np.cumsum(length[which]) - length[which]
        at = start[which][position] + np.arange(len(position)) - first[position]
        self.node, self.bit = nodes[at], bits[at]
        self.document = np.array(documents)[position]
        self.recent = np.array(recent, np.int64)
        self._hashes = np.array(contexts, np.uint64)
        self._position = position

    def keys(self, context: int) -> Array:
        """Return each decision's context and node as one number."""
        keys: Array = self._hashes[self._position, context] << np.uint64(8) | self.node
        return keys


def recall(repeats: Repeats, context: Context, routes: list[dict[int, int]], symbol: int) -> list[list[int]]:
    """Return the states of what the message repeats at each decision of *symbol*, as `Model.code()` meets them."""
    rows = []
    keys = history_keys(context)
    guesses = [(routes[guess] if guess >= 0 else None, base) for guess, base in repeats.guesses]
    for node, bit in routes[symbol].items():
        row = [repeats.histories.get(key | node, 1) for key in keys]
        row += [0 if guess is None else base + guess[node] for guess, base in guesses]
        rows.append(row)
        for key in keys:
            repeats.histories[key | node] = remember(repeats.histories.get(key | node, 1), bit)
        guesses = [(guess if guess and guess[node] == bit else None, base) for guess, base in guesses]
    return rows


def state(counts: Array) -> Array:
    """Return the 6-bit state of weighted counts of zeros and ones: four of confidence by sixteen of odds."""
    zeros, ones = counts[:, 0], counts[:, 1]
    odds = np.log((ones + 0.02) / (zeros + 0.02))
    level = 1 + np.digitize(odds, [-5.5, -4, -3, -2.1, -1.3, -0.6, 0, 0.6, 1.3, 2.1, 3, 4, 5.5])
    level = np.where(zeros == 0, 0, np.where(ones == 0, 15, level))
    # levels are names, their worth is learned: 0 is "only ones", 15 "only zeros"
    named: Array = np.digitize(zeros + ones, [6, 16, 60]) * 16 + level
    return named


def gain(counts: Array, shorter: Array) -> Array:
    """Return the bits that a context saves over the probability of a 1 in the *shorter* one."""
    total = counts.sum(1)
    one = np.clip((counts[:, 1] + 0.05) / (total + 0.1), 1e-6, 1 - 1e-6)
    return np.asarray(
        total * (one * np.log2(one / shorter) + (1 - one) * np.log2((1 - one) / (1 - shorter))), np.float64
    )


class Counts:
    """What followed each context, by fold, so that a table can be made without one of them."""

    def __init__(self, decisions: Decisions, folds: Array) -> None:
        group = folds[decisions.document]
        used = np.nonzero(group != TEST)[0]
        self.domain = np.nonzero(group != OTHER)[0]
        self.decision_fold = group[self.domain]
        self.keys: list[Array] = []
        self.counts: list[Array] = []
        self.parent: list[Array | None] = []
        self.at: list[Array] = []
        inverses: list[Array] = []
        columns = 2 * group[used] + decisions.bit[used]
        for context, shorter in enumerate(SHORTER):
            keys = decisions.keys(context)
            unique, first, inverse = np.unique(keys[used], return_index=True, return_inverse=True)
            counts = np.bincount(inverse * 12 + columns, minlength=12 * len(unique)).reshape(-1, 6, 2)
            at = np.searchsorted(unique, keys[self.domain]).clip(max=len(unique) - 1)
            at[unique[at] != keys[self.domain]] = -1
            self.keys.append(unique)
            self.counts.append(counts.astype(np.float32))
            self.at.append(at)
            self.parent.append(None if shorter is None else inverses[shorter][first].astype(np.int32))
            inverses.append(inverse.astype(np.int32))

    def weighted(self, context: int, without: int) -> Array:
        """Return zeros and ones of each key, without the fold *without* (`TEST`: all that is trained on)."""
        folds = [fold for fold in range(FOLDS) if fold != without]
        counts = self.counts[context]
        total: Array = counts[:, OTHER] + DOMAIN_WEIGHT * counts[:, folds].sum(1)
        return total

    def table(self, without: int, size: int) -> list[Array]:
        """Return each context's states, -1 where pruned: the *size* keys of most gain stay."""
        states, gains = [], []
        chances: list[Array] = []
        for context, shorter in enumerate(SHORTER):
            counts = self.weighted(context, without)
            total = counts.sum(1)
            chances.append((counts[:, 1] + 0.2) / (total + 0.4))
            parent = self.parent[context]
            if shorter is None or parent is None:
                value = total
            else:
                value = np.where(total >= 3, gain(counts, chances[shorter][parent]), 0)
            states.append(state(counts))
            gains.append(value)
        least = np.sort(np.concatenate(gains))[-size:][0]
        return [np.where(value > max(least, 0), kept, -1) for value, kept in zip(gains, states, strict=True)]


def peel(keys: list[int], values: list[int], third: int) -> Array:
    """Return cells so that the exclusive or of a key's three cells is its check and value.

    Raise `ValueError` if the keys are too many: take more cells.
    """
    places = [(key % third, third + (key >> 21) % third, 2 * third + (key >> 42) % third) for key in keys]
    degree, union = [0] * (3 * third), [0] * (3 * third)
    for at, three in enumerate(places):
        for cell in three:
            degree[cell] += 1
            union[cell] ^= at
    ready = [cell for cell in range(3 * third) if degree[cell] == 1]
    order = []
    while ready:
        cell = ready.pop()
        if degree[cell] != 1:
            continue
        at = union[cell]
        order.append((at, cell))
        for other in places[at]:
            degree[other] -= 1
            union[other] ^= at
            if degree[other] == 1:
                ready.append(other)
    if len(order) < len(keys):
        raise ValueError(f"{len(keys)} keys do not fit {3 * third} cells")
    cells = [0] * (3 * third)
    for at, cell in reversed(order):
        a, b, c = places[at]
        cells[cell] = cells[a] ^ cells[b] ^ cells[c] ^ (keys[at] >> 54 << 6 | values[at])
    return np.array(cells, np.uint16)


def fit(states: Array, bits: Array, nodes: Array, found: Array, epochs: int) -> tuple[Array, Array, Array]:
    """Learn the worth of each state and the weights of the inputs, by count of contexts found and by node.

    Minimises the coded bits with Adam; batches are drawn by a named stream, so a run is repeatable.
    """
    draw = generator(0, "training/text")
    worth = torch.zeros(INPUTS, STATES, requires_grad=True)
    by_count = torch.full((len(STATIC) + 1, INPUTS), 0.5, requires_grad=True)
    by_node = torch.full((SYMBOLS - 1, INPUTS), 0.5, requires_grad=True)  # nodes that training never met too
    with torch.no_grad():
        for row in range(INPUTS):
            total = np.bincount(states[:, row], minlength=STATES)
            ones = np.bincount(states[:, row], weights=bits, minlength=STATES)
            worth[row] = 0.3 * torch.from_numpy(np.log((ones + 0.5) / (total - ones + 0.5)))
    rows = torch.arange(INPUTS)
    data = [torch.from_numpy(part.astype(np.int64)) for part in (states, nodes, found)]
    truth = torch.from_numpy(bits.astype(np.float32))
    rate, batch = 0.02, 2048
    optimizer = torch.optim.Adam([worth, by_count, by_node], lr=rate)
    steps = epochs * len(bits) // batch
    for step in range(steps):
        at = torch.from_numpy(draw.integers(len(bits), size=batch))
        seen, node, count = (part[at] for part in data)
        logit = (worth[rows, seen] * (by_count[count] + by_node[node])).sum(1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, truth[at])
        loss = loss + 1e-6 * (worth**2).sum()
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps) + 1e-5
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 200 == 0:
            print(
                f"step {step}/{steps}: {float(loss.detach()) / np.log(2):.4f} bits a decision",
                file=sys.stderr,
            )
    return worth.detach().numpy(), by_count.detach().numpy(), by_node.detach().numpy()


def train(folder: Path, epochs: int, third: int = THIRD) -> dict[str, Array]:
    """Return the arrays of the table, learned from the captions in *folder* but the test fold."""
    texts, folds = [], []
    for fold, overall, whole in domain(folder):
        texts += [overall, whole]
        folds += [fold, fold]
    other = general(folder)
    frequency = np.ones(SYMBOLS)
    for fold, text in zip(folds + [OTHER] * len(other), texts + other, strict=True):
        if fold != TEST:
            symbols = [symbol for symbol, _ in to_symbols(text)]
            frequency += np.bincount(symbols, minlength=SYMBOLS) * (0.02 if fold == OTHER else 1)
    tree = huffman(frequency)
    decisions = Decisions(texts + other, len(texts), tree)
    print(f"{len(texts) + len(other)} texts, {len(decisions.bit)} decisions", file=sys.stderr)
    counts = Counts(decisions, np.array(folds + [OTHER] * len(other)))
    size = int(3 * third * LOAD)
    seen = np.full((len(counts.domain), len(STATIC)), MISSING)
    for fold in range(FOLDS):
        rows = np.nonzero(counts.decision_fold == fold)[0]
        for context, table in enumerate(counts.table(fold, size)):
            at = counts.at[context][rows]
            kept = np.where(at >= 0, table[at], -1)
            seen[rows, context] = np.where(kept >= 0, kept, MISSING)
    train_rows = np.nonzero(counts.decision_fold < FOLDS)[0]
    chosen = counts.domain[train_rows]
    found = (seen != MISSING).sum(1)
    worth, by_count, by_node = fit(
        np.concatenate([seen, decisions.recent], 1)[train_rows],
        decisions.bit[chosen],
        decisions.node[chosen].astype(np.int64),
        found[train_rows],
        epochs,
    )
    stored: dict[int, int] = {}  # the few that collide in 64 bits share the first one's state
    for unique, table, name in zip(counts.keys, counts.table(TEST, size), STATIC, strict=True):
        kept = np.nonzero(table >= 0)[0]
        for key, value in zip(unique[kept].tolist(), table[kept].tolist(), strict=True):
            stored.setdefault(slot(key >> 8, key & 255), value)
        print(f"context {name}: {len(kept)} of {len(table)} kept", file=sys.stderr)
    unit = np.arange(-REACH * STEPS_PER_LOGIT, REACH * STEPS_PER_LOGIT) / STEPS_PER_LOGIT
    return {
        "tree": np.array(tree, np.int16),
        "cells": peel(list(stored), list(stored.values()), third),
        "inputs": np.round(worth * 256).astype(np.int16),
        "by_count": np.round(by_count * 1024).astype(np.int16),
        "by_node": np.round(by_node * 1024).astype(np.int16),
        "squash": np.clip(np.round(65536 / (1 + np.exp(-unit))), 16, 65520).astype(np.uint16),
        "shift": np.array([11], np.int16),  # 256 * 1024 steps a logit, to 128
    }


def score(shipped: TextTables, texts: list[str]) -> float:
    """Return the mean coded bits of *texts*, all bytes counted; raise `ValueError` if one comes back changed."""
    total = 0
    for text in texts:
        data = encode(text, shipped)
        if decode(data, shipped) != text:
            raise ValueError(f"not decoded as encoded: {text!r}")
        total += 8 * len(data)
    return total / len(texts)


def write(arrays: dict[str, Array], out: Path) -> int:
    """Write the table, and its digest into SHA256SUMS beside it; return its bytes."""
    data = save(arrays)
    out.write_bytes(data)
    sums = out.parent / "SHA256SUMS"
    lines = sums.read_text().splitlines() if sums.exists() else []
    lines = [line for line in lines if not line.endswith(f"  {out.name}")]
    lines.append(f"{hashlib.sha256(data).hexdigest()}  {out.name}")
    sums.write_text("\n".join(sorted(lines, key=lambda line: line[66:])) + "\n")
    return len(data)


def main() -> None:
    """Train, write the table and print the bits of each split."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--captions", type=Path, required=True, help="folder of the caption files")
    parser.add_argument("--out", type=Path, required=True, help="the table, a safetensors file")
    parser.add_argument("--epochs", type=int, default=8, help="passes over the domain's captions")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)  # else two threads add gradients in varying order
    arrays = train(arguments.captions, arguments.epochs)
    print(f"{arguments.out}: {write(arrays, arguments.out)} bytes")
    shipped = TextTables(arrays)
    rows = domain(arguments.captions)
    for name, held_back in (("train", False), ("test", True)):
        split = [row for row in rows if (row[0] == TEST) == held_back]
        overall, whole = score(shipped, [row[1] for row in split]), score(shipped, [row[2] for row in split])
        print(f"{name}: {len(split)} answers, overall {overall:.1f} bits, whole answer {whole:.1f} bits")


if __name__ == "__main__":
    main()
