"""A trial's checkpoint: what it trains, its optimiser's state and how far it is, in safetensors, never a pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

VERSION = 1  # of what a checkpoint holds; one of another version is none


@dataclass
class Checkpoint:
    """One trial after ``step`` steps.

    Args:
        trial_id: whose it is.
        step: steps done; the data stream goes on from here.
        tensors: the trained tensors, in the order of the optimiser's group.
        optimizer: AdamW's state, a dict a tensor.
        best: the trained tensors at the best step, empty before the first evaluation.
        facts: plain JSON values: best step and score, the learning curve, seconds spent.
    """

    trial_id: str
    step: int
    tensors: Sequence[Tensor]
    optimizer: Sequence[Mapping[str, Tensor]]
    best: Sequence[Tensor] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def check(self, trial_id: str, count: int | None) -> None:
        """Make sure that it is of a trial whose module has so many scalars (None: not known).

        Raises:
            ValueError: it isn't.
        """
        if self.trial_id != trial_id:
            raise ValueError(f"it is of trial {self.trial_id}")
        if count is not None and self.tensors[0].numel() != count:
            raise ValueError(f"it holds {self.tensors[0].numel()} scalars, and the trial trains {count}")

    def to_bytes(self) -> bytes:
        """One safetensors file."""
        named: dict[str, Tensor] = {}
        for i, tensor in enumerate(self.tensors):
            named[f"tensor.{i}"] = tensor
        for i, tensor in enumerate(self.best):
            named[f"best.{i}"] = tensor
        for i, state in enumerate(self.optimizer):
            named |= {f"optimizer.{i}.{key}": value for key, value in state.items()}
        named = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in named.items()}
        facts = {
            "version": VERSION,
            "trial_id": self.trial_id,
            "step": self.step,
            "facts": self.facts,
            "content": _content(named),
        }
        return save(named, metadata={"apet": json.dumps(facts)})

    @staticmethod
    def from_bytes(data: bytes) -> Checkpoint:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            ValueError: no checkpoint of this version, or one that is cut or changed.
        """
        try:
            return _read(data)
        except (
            SafetensorError,
            AttributeError,
            KeyError,
            IndexError,
            TypeError,
        ) as error:  # whatever a flipped bit does
            raise ValueError(str(error) or repr(error)) from error


def _read(data: bytes) -> Checkpoint:
    named = load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    facts = json.loads(header["__metadata__"]["apet"])
    if facts.get("version") != VERSION:
        raise ValueError(f"it is of version {facts.get('version')}, and this release reads {VERSION}")
    if facts["content"] != _content(named):
        raise ValueError("its tensors are not those that were written")

    def series(prefix: str) -> list[Tensor]:
        return [named[f"{prefix}.{i}"] for i in range(sum(k.startswith(f"{prefix}.") for k in named))]

    tensors = series("tensor")
    optimizer: list[dict[str, Tensor]] = [{} for _ in tensors]
    for key, value in named.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            optimizer[int(index)][name] = value
    return Checkpoint(facts["trial_id"], facts["step"], tensors, optimizer, series("best"), facts["facts"])


def _content(named: Mapping[str, Tensor]) -> str:
    """A digest of all tensors: a flipped bit would else go into results unseen."""
    digest = hashlib.sha256()
    for name, tensor in sorted(named.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
