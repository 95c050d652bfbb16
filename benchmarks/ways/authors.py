"""The authors' way: a process for a trial, which loads model, tokenizer and data, pads all rows to the maximum, and
trains in a plain loop.

    python -m ways.authors JOB INDEX

No work that isn't needed: rows are tokenised when a batch needs them, evaluation rows once; the best step's tensors
stay in memory. The last line is JSON: the scores.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import transformers
from torch import Tensor

from ways.classifier import Classifier, Rows, job_of, rows_of


class Padded:
    """Rows as batches, each row as wide as the longest one may be."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(job["model"])
        self._width = job["max_length"]

    def batch(self, rows: Rows, at: Sequence[int]) -> dict[str, Tensor]:
        """Some rows side by side."""
        found = self._tokenizer(
            [rows[0][i] for i in at],
            padding="max_length",
            truncation=True,
            max_length=self._width,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        return {**found, "labels": torch.tensor([rows[1][i] for i in at])}

    def batches(self, rows: Rows, size: int) -> list[dict[str, Tensor]]:
        """All rows in their order."""
        return [self.batch(rows, range(at, min(at + size, len(rows[1])))) for at in range(0, len(rows[1]), size)]


@torch.inference_mode()
def score(model: Classifier, batches: Sequence[Mapping[str, Tensor]]) -> float:
    """Accuracy."""
    right = sum(int((model(**b)["logits"].argmax(-1) == b["labels"]).sum()) for b in batches)
    return right / sum(len(b["labels"]) for b in batches)


def run(job: Mapping[str, Any], trial: Mapping[str, Any]) -> tuple[float, float]:
    """Train a trial: its validation score, and the test score at its best step."""
    torch.manual_seed(trial["train_seed"])
    size, steps = job["batch_size"], job["steps"]
    model, padded, rows = Classifier(job, trial), Padded(job), rows_of(job, "train")
    validation, test = (padded.batches(rows_of(job, split), size) for split in ("validation", "test"))
    optimizer = torch.optim.AdamW(model.trained(), lr=trial["learning_rate"], weight_decay=0.0, fused=True)
    epochs = -(-steps * size // len(rows[1]))
    order = torch.cat([torch.randperm(len(rows[1])) for _ in range(epochs)]).tolist()
    best, values = -1.0, model.values()
    for step in range(1, steps + 1):
        model(**padded.batch(rows, order[(step - 1) * size : step * size]))["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.trained(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % job["eval_every"] == 0 or step == steps:
            found = score(model, validation)
            if found > best:
                best, values = found, model.values()
    model.put(values)
    return best, score(model, test)


def main() -> None:
    """Train one trial of a job."""
    torch.set_num_threads(1)
    job = job_of(sys.argv[1])
    validation, test = run(job, job["trials"][int(sys.argv[2])])
    print(json.dumps({"validation_score": validation, "test_score": test}))


if __name__ == "__main__":
    main()
