"""Stand-ins of a pack's trials: as many as are asked for, on its backbone and its data, for steps that nobody keeps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn

from trials.modules.positions import Layout, layout
from trials.pack import Pack
from trials.trial import Trial
from workers.backbone import readout
from workers.backbone.load import Backbone
from workers.engines.engine import Engine, Group
from workers.modules import soft_tokens
from workers.modules.model import PackModel
from workers.modules.modules import Modules
from workers.rows.batches import Batch, parts, stream
from workers.rows.warm import PackData

LOOKED_AT = 9  # batches, of which the one of median length is taken
MakeEngine = Callable[[nn.Module, Sequence[Group]], Engine]


@dataclass(frozen=True)
class Step:
    """Seconds of one step of a pack."""

    cpu_s: float
    wall_s: float


@contextmanager
def stand_ins(
    pack: Pack, backbone: Backbone, data: PackData, make_engine: MakeEngine
) -> Iterator[Callable[[int], Step]]:
    """A step of some of as many trials as may be, which are the pack's again and again, on one batch of its data.

    Raises:
        ApetError: a trial can't be placed: it is to fail alone, and not to be a step that ends the use of a card.
    """
    trial, setup = pack.members[0].trial, pack.setup
    layouts = [layout(member.trial) for member in pack.members]
    for one in layouts:
        soft_tokens.check_room(one, trial.backbone, data.longest)
    layouts = _again(layouts, setup.measure_to)
    batch, device = _batch(data, trial), backbone.device
    with ExitStack() as stack:
        modules = Modules(backbone, layouts)
        stack.callback(modules.close)
        read = readout.make(trial, data.task, backbone, len(layouts))
        model = PackModel(backbone, modules, read.weights or None, read.label_words)
        heads = [[x] if isinstance(x, nn.Parameter) else [] for x in read.weights] or [[] for _ in layouts]
        groups = [Group([theta, *head], trial.learning_rate) for theta, head in zip(modules.thetas, heads, strict=True)]
        engine = make_engine(model, groups)
        stack.callback(engine.close)
        cut = parts(batch, setup.micro_batch or len(batch.rows))
        portions = [({name: x.to(device) for name, x in tensors.items()}, share) for tensors, share in cut]

        def step(size: int) -> Step:
            modules.active = list(range(size))
            _wait(device)
            cpu_s, wall_s = time.thread_time(), time.perf_counter()
            for number, (tensors, share) in enumerate(portions, start=1):
                losses_K = engine.losses(tensors) * share
                engine.backward(losses_K.sum(), last=number == len(portions))
            engine.step()
            _wait(device)
            return Step(time.thread_time() - cpu_s, time.perf_counter() - wall_s)

        yield step


def _again(layouts: Sequence[Layout], n: int) -> list[Layout]:
    """So many of them, from the first on again and again."""
    return [layouts[i % len(layouts)] for i in range(n)]


def _batch(data: PackData, trial: Trial) -> Batch:
    """Of the first training batches the one of median length."""
    batches = islice(stream(data.train, trial.train_seed, trial.training.batch_size), LOOKED_AT)
    return sorted(batches, key=lambda batch: batch.tokens)[LOOKED_AT // 2]


def _wait(device: torch.device) -> None:
    """Until the device is through with what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
