"""What the two opponents train: the encoder from its folder, PEFT's LoRA, and the head that our trials have.

Nothing of this project is imported here: a job is a JSON file, its rows are JSON lines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

Rows = tuple[list[str], list[int]]  # texts and labels


def job_of(file: str) -> dict[str, Any]:
    """What to train: model, data, steps, trials."""
    found: dict[str, Any] = json.loads(Path(file).read_text())
    return found


def rows_of(job: Mapping[str, Any], split: str) -> Rows:
    """The texts and labels of a split."""
    lines = [json.loads(line) for line in (Path(job["data"]) / f"{split}.jsonl").read_text().splitlines()]
    return [line["text"] for line in lines], [line["label"] for line in lines]


class Classifier(nn.Module):
    """LoRA on query and value of a frozen encoder, and a frozen head on the mean of the text's hidden states.

    Args:
        job: of :func:`job_of`.
        trial: one of its trials: its head [labels, d] is given, for it is a random one that ours has too.
    """

    def __init__(self, job: Mapping[str, Any], trial: Mapping[str, Any]) -> None:
        super().__init__()
        encoder = transformers.AutoModel.from_pretrained(
            job["model"], add_pooling_layer=False, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
        )
        lora = peft.LoraConfig(r=job["rank"], lora_alpha=job["alpha"], target_modules=["query", "value"])
        self.encoder = peft.get_peft_model(encoder, lora)
        self.register_buffer("head", torch.tensor(trial["head"]))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss and logits [b, labels] of b rows."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask[..., None].to(hidden.dtype)
        logits = (hidden * weight).sum(1) / weight.sum(1) @ self.head.T
        return {"loss": cross_entropy(logits, labels), "logits": logits}

    def trained(self) -> list[nn.Parameter]:
        """What trains."""
        return [p for p in self.parameters() if p.requires_grad]

    def values(self) -> list[Tensor]:
        """Copies of what trains."""
        return [p.detach().clone() for p in self.trained()]

    @torch.no_grad()
    def put(self, values: list[Tensor]) -> None:
        """Put copies back."""
        for p, value in zip(self.trained(), values, strict=True):
            p.copy_(value)
