"""Padding and speed of the training batches, against a plain DataLoader that pads to the maximum, in one run.

    APET_DATA=FOLDER python benchmarks/data.py [--tasks sst2 rte samsum] [--backbone tiny-bloom]

``wasted`` is the share of input positions that are padding in one epoch of our stream; ``wasted_random_order`` that of
batches in random order, padded to their own longest row. ``tokens_s`` and ``plain_tokens_s`` are tokens that are no
padding, per second of one epoch, from rows that are tokenised already: ours from the cache, the DataLoader's as lists
in memory, padded to the task's maximum. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from machine import print_header
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from trials import backbones, streams, tasks
from trials.sources import locations as sources
from trials.trial import TaskRef
from workers.backbone.pretrained import tokenizer_of
from workers.backbone.weights import TOKENIZERS
from workers.rows.batches import IGNORED, Batch, collate, epoch_order, stream
from workers.rows.encode import Dataset, Encoding
from workers.rows.warm import splits

BATCH_SIZE = 32


def main() -> None:
    """Measure every task asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=["sst2", "rte", "samsum"], choices=tasks.names())
    parser.add_argument("--backbone", default="tiny-bloom", choices=("tiny-bert", "tiny-bloom", "tiny-t5"))
    given = parser.parse_args()
    if not os.environ.get("APET_DATA"):
        parser.error("APET_DATA is not set: it names a folder with one folder of real rows a task")
    torch.set_num_threads(1)
    print_header()
    rows = []
    for name in given.tasks:
        start = time.perf_counter()
        data = training_rows(name, given.backbone)
        opened = time.perf_counter() - start
        row = {
            "task": name,
            "wasted": round(wasted(data, epoch_order(data, 0, BATCH_SIZE, 0)), 4),
            "wasted_random_order": round(wasted(data, random_order(len(data))), 4),
            "tokens_s": round(speed(stream(data, 0, BATCH_SIZE), len(data))),
            "plain_tokens_s": round(speed(plain(data), len(data))),
        }
        print(f"{len(data)} rows, opened in {opened:.2f} s: {row}", flush=True)
        rows.append(row)
    print(json.dumps({"rows": rows}))


def training_rows(name: str, backbone: str) -> Dataset:
    """The encoded train split of a task."""
    task, family = tasks.get(name), backbones.get(backbone).family
    source, location = sources.find_data(name, Path(os.environ["APET_DATA"]) / name)
    how = Encoding(
        task=task,
        family=family,
        tokenizer=tokenizer_of(TOKENIZERS / backbone),
        labels="own",
        head="verbalizer" if family == "bert" else None,
        max_input_length=task.max_input_length,
        max_generated_length=task.max_generated_length,
    )
    return splits(task, TaskRef(name, source), location, how, ("train",))[0]


def random_order(n: int) -> list[NDArray[np.int64]]:
    """The rows in a random order, cut into batches."""
    order = streams.permutation(n, "benchmark")
    return [order[at : at + BATCH_SIZE] for at in range(0, n, BATCH_SIZE)]


def wasted(data: Dataset, batches: Iterable[NDArray[np.int64] | list[int]]) -> float:
    """Share of positions that are padding where a batch is as wide as its longest row; the tensors must agree."""
    used = positions = 0
    for number, batch in enumerate(batches):
        lengths = data.lengths[batch]
        used, positions = used + int(lengths.sum()), positions + int(lengths.max()) * len(batch)
        if number == 0:
            mask = collate(data, list(map(int, batch)), train=True).tensors["attention_mask"]
            assert (int(mask.sum()), mask.numel()) == (used, positions)
    return 1 - used / positions


def plain(data: Dataset) -> Iterable[Batch]:
    """What a DataLoader gives of rows that are padded to the maximum."""
    rows, family = data.rows, data.how.family
    targets = data.how.max_generated_length + 1
    longest = data.how.max_input_length + (targets if family == "bloom" else 0)
    padded = []
    for i in range(len(data)):
        ids = [*rows.inputs[i].tolist(), *(rows.targets[i].tolist() if family == "bloom" else [])]
        asked = [IGNORED] * len(rows.inputs[i]) if family == "bloom" else []
        asked += rows.targets[i].tolist()
        padded.append(
            {
                "input_ids": ids + [0] * (longest - len(ids)),
                "attention_mask": [1] * len(ids) + [0] * (longest - len(ids)),
                "labels": asked + [IGNORED] * ((longest if family == "bloom" else targets) - len(asked)),
            }
        )

    def stack(chosen: list[dict[str, list[int]]]) -> Batch:
        tensors = {name: torch.tensor([row[name] for row in chosen]) for name in chosen[0]}
        tokens = int(tensors["attention_mask"].sum())
        return Batch(tensors, (), tokens + (int((tensors["labels"] != IGNORED).sum()) if family == "t5" else 0))

    loader = DataLoader(padded, BATCH_SIZE, shuffle=True, collate_fn=stack)  # type: ignore[arg-type]  # a list will do
    while True:
        yield from loader


def speed(batches: Iterable[Batch], rows: int) -> float:
    """Tokens per second over one epoch of ``rows`` rows, its shuffling included."""
    start = time.perf_counter()
    tokens = sum(batch.tokens for batch in islice(batches, -(-rows // BATCH_SIZE)))
    return tokens / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
