"""What is measured: backbones of random weights, trials on them, batches, and how large all of it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from orchestrator.planning.devices import Machine
from orchestrator.planning.fit import fit
from orchestrator.text import GIB
from trials import backbones
from trials.modules import methods
from trials.sweep.resources import Resources
from trials.trial import BackboneRef, Source, TaskRef, Training, Trial

TARGETS = 2  # tokens of a label, its end included
RATE = 1e-4
TASK = "rotten_tomatoes"
NOWHERE = Source("folder", TASK, "0")  # data of trials whose batches are made up


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Args:
        rows: of a batch.
        lengths: positions of its rows; packs are measured at the last one.
        few, many: trials of a pack, on large and on small backbones.
        count: scalars of ``apet``.
        side: of the matrices of the peak.
        repetitions: of a step.
        steps: of a trial that a worker trains.
    """

    rows: int
    lengths: tuple[int, ...]
    few: tuple[int, ...]
    many: tuple[int, ...]
    count: int
    side: int
    repetitions: int
    steps: int


FULL = Sizes(32, (256, 128), (1, 2, 4, 8), (1, 2, 4, 8, 16, 32, 64), 4096, 8192, 5, 6)
TINY = Sizes(4, (40, 32), (1, 2), (1, 2), 96, 64, 1, 2)


def subject(name: str, tiny: bool) -> BackboneRef:
    """A backbone with random weights; of a tiny run the tiny one of its family."""
    known = backbones.get(name)
    return backbones.with_random_weights(backbones.get(f"tiny-{known.family}") if tiny else known)


def trial(ref: BackboneRef, method: str, sizes: Sizes, length: int, nth: int = 0, data: Source = NOWHERE) -> Trial:
    """The ``nth`` trial of a method, all of which may train in one pack.

    Args:
        length: positions of a row, of BLOOM with its target.
    """
    return Trial(
        ref,
        TaskRef(TASK, data),
        methods.apet(ref.family, sizes.count) if method == "apet" else methods.named(method),
        RATE * (1 + nth / 100),
        Training(
            sizes.steps,
            sizes.rows,
            precision="bf16",
            max_input_length=length - (TARGETS if ref.family == "bloom" else 0),
            max_generated_length=TARGETS - 1,
        ),
        position_seed=nth if method == "apet" else None,
        head="verbalizer" if ref.family == "bert" else None,
    )


def batch(family: str, rows: int, length: int, device: str) -> Mapping[str, Tensor]:
    """Rows of up to ``length`` positions, three of four a little shorter: padded, as batches of texts are."""
    ids = torch.arange(rows * length, device=device).view(rows, length) * 37 % 1900 + 20
    at, padding = torch.arange(length, device=device), (torch.arange(rows, device=device) % 4)[:, None]
    mask = (at >= padding if family == "bloom" else at < length - padding).long()
    found = {"input_ids": ids * mask, "attention_mask": mask}
    if family == "bert":
        ones = torch.ones(rows, dtype=torch.long, device=device)
        return {**found, "class_labels": ones, "mask_position": ones}
    labels = ids[:, :TARGETS].clone() if family == "t5" else ids.masked_fill(at < length - TARGETS, -100)
    return {**found, "labels": labels, "target_at": labels.flatten().ne(-100).nonzero().flatten()}


def texts(folder: Path, sizes: Sizes) -> Path:
    """A folder of reviews that are longer than any length that is measured: two batches to train on, few to score."""
    folder.mkdir(parents=True, exist_ok=True)
    words = "a warm and funny story of a town by the river " * (max(sizes.lengths) // 8 + 1)
    for split, rows in (("train", 2 * sizes.rows), ("validation", 4), ("test", 4)):
        lines = (json.dumps({"text": f"{i} {words}", "label": i % 2}) + "\n" for i in range(rows))
        (folder / f"{split}.jsonl").write_text("".join(lines))
    return folder


def planned(one: Trial, pack_size: int, card_bytes: int, zero_stage: int = 0, offload: bool = False) -> int:
    """Bytes that the planner expects a pack of trials like this one to take of one card, whole batches at a time."""
    card = Machine(8, 128 * GIB, 1, card_bytes)
    wanted = Resources(
        gpus=1,
        zero_stage=zero_stage,
        offload=offload,
        recompute=False,
        pack_size=pack_size,
        micro_batch=one.training.batch_size,
    )
    return fit([one], [card], wanted).needed
