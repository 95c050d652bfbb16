"""The floor: what of a trial is arithmetic on the frozen backbone, and nothing else.

    python -m ways.floor JOB SWEEP PROCESS PROCESSES TRIALS

The batches that our trials see, of rows of like length (``workers.rows``), through the bare encoder: forward, backward
through activations alone from the loss down to the outputs of the lowest block's queries and values, no gradient of any
weight; then the evaluations of a trial, forward alone. It does TRIALS trials, of those of SWEEP every PROCESSES-th one.
Batches are made before the clock starts: the process says ``ready``, begins at a line on its standard input, and ends
with a line of JSON: its seconds, those of training and those of evaluation.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trials import Sweep, Trial, tasks
from workers import allocator
from workers.rows.batches import eval_batches, stream
from workers.rows.encode import Dataset, Encoding
from workers.rows.warm import splits

Batches = Sequence[Mapping[str, Tensor]]


class Bare(nn.Module):
    """The frozen encoder under a frozen head [labels, d]."""

    def __init__(self, folder: str, head: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.encoder = transformers.AutoModel.from_pretrained(folder, add_pooling_layer=False)
        self.eval().requires_grad_(False)
        self.head = torch.tensor(head)
        lowest = self.encoder.encoder.layer[0].attention.self
        for layer in (lowest.query, lowest.value):
            layer.register_forward_hook(lambda module, args, out: out.requires_grad_(torch.is_grad_enabled()))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits [b, labels]."""
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        hidden = self.encoder(**inputs).last_hidden_state
        weight = batch["attention_mask"][..., None].to(hidden.dtype)
        return (hidden * weight).sum(1) / weight.sum(1) @ self.head.T


def data_of(sweep: Sweep, trial: Trial, folder: str) -> list[Dataset]:
    """Encoded train, validation and test rows."""
    task = tasks.get(trial.task.name)
    lengths = task.max_input_length, task.max_generated_length
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    how = Encoding(task, trial.backbone.family, tokenizer, trial.labels, trial.head, *lengths)
    return splits(task, trial.task, sweep.sources(trial).data, how)


def train(model: Bare, batches: Batches) -> None:
    """Forward and backward, batch after batch."""
    for batch in batches:
        cross_entropy(model(batch), batch["class_labels"]).backward()


@torch.no_grad()
def evaluate(model: Bare, batches: Batches) -> None:
    """Forward alone."""
    for batch in batches:
        model(batch).argmax(-1).tolist()


def main() -> None:
    """Do the arithmetic of some trials."""
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    sweep, (process, processes, n) = Sweep.load(Path(sys.argv[2])), map(int, sys.argv[3:])
    torch.set_num_threads(1)
    allocator.keep_freed()  # as our workers do
    model = Bare(job["model"], job["trials"][0]["head"])
    size, steps = job["batch_size"], job["steps"]
    mine = list(islice(sweep.trials(), process, None, processes))[:n]
    rows, validation, test = data_of(sweep, mine[0], job["model"])
    seeds = {trial.train_seed for trial in mine}
    training = {seed: [b.tensors for b in islice(stream(rows, seed, size), steps)] for seed in seeds}
    scored = [[b.tensors for b in eval_batches(data, size)] for data in (validation, test)]
    evaluations = [scored[0]] * -(-steps // job["eval_every"]) + [scored[1]]
    train(model, training[mine[0].train_seed][:3])  # the first passes of a process take longer
    print("ready", flush=True)
    sys.stdin.readline()
    seconds = {"train_s": 0.0, "eval_s": 0.0}
    start = perf_counter()
    for trial in mine:
        begun = perf_counter()
        train(model, training[trial.train_seed])
        trained = perf_counter()
        for batches in evaluations:
            evaluate(model, batches)
        seconds["train_s"] += trained - begun
        seconds["eval_s"] += perf_counter() - trained
    print(json.dumps({"seconds": perf_counter() - start, **seconds}))


if __name__ == "__main__":
    main()
