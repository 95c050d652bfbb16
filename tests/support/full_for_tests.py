"""All weights of a tiny backbone in training, on the ranks of a gang or in a process alone, engine by engine."""

from __future__ import annotations

import gc
import math
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_for_tests import WORDS, answers, batch, frozen
from torch import Tensor, nn

from trials import backbones
from workers.backbone.full import fingerprint, trainable_backbone
from workers.backbone.load import load
from workers.backbone.sharded import Sharding
from workers.engines import choice, shards, zero
from workers.engines.engine import Engine, Group
from workers.gang.gang import ALONE, Gang
from workers.modules.model import PackModel
from workers.rows.batches import Batch, parts

STEPS, BEST = 4, 2  # the best step isn't the last
SMALL, LIVE = 200, 0  # of so small a model too most tensors are gathered, and let go behind each layer


@dataclass(frozen=True)
class Case:
    """One run.

    Args:
        name: the backbone's.
        stage: 0: the plain engine.
        rows: of a pass at most; of the four of a batch.
        bad: a step, a rank (None: all), and what its loss is multiplied by there.
    """

    name: str
    stage: int
    offload: bool = False
    rows: int = 4
    bf16: bool = False
    head: bool = False
    recompute: bool = False
    bad: tuple[int, int | None, float] | None = None

    @property
    def alone(self) -> Case:
        """The same in one process, by rows at once."""
        return replace(
            self, stage=0, offload=False, rows=4, recompute=False, bad=self.bad and (self.bad[0], None, self.bad[2])
        )


def cases_run(gang: Gang, cases: list[Case]) -> list[dict[str, Any]]:
    """What each case gives on this rank."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zero, "SMALL", SMALL)
        patch.setattr(zero, "LIVE", LIVE)
        return [case_run(case, gang) for case in cases]


def case_run(case: Case, gang: Gang = ALONE) -> dict[str, Any]:
    """Losses and norms of every step, what the model answers at the end and at its best step, and what is left."""
    found: dict[str, Any] = {"losses": [], "norms": []}
    with training(case, gang) as (engine, model, backbone, bits):
        for step in range(STEPS):
            loss, norm, found["count"] = take(engine, case, gang, step)
            found["losses"].append(loss)
            found["norms"].append(norm)
            if not math.isfinite(norm):
                engine.drop(0)
                break
            if step + 1 == BEST:
                best = engine.values(0)
        found["end"] = answers(model, batch(case.name))
        engine.set_values(0, best)
        found["best"] = answers(model, batch(case.name))
        found["skipped"] = engine._engine.skipped_steps if isinstance(engine, zero.ZeroEngine) else 0
    found["bits"] = backbone_bits(backbone) == bits
    return found


@contextmanager
def training(case: Case, gang: Gang = ALONE) -> Iterator[tuple[Engine, PackModel, Any, Any]]:
    """An engine over a backbone, which at stage 3 is in shards."""
    backbone = opened(case, gang)
    bits = backbone_bits(backbone)
    with trainable_backbone(backbone.model) as params:
        heads: list[Tensor] | None = None
        if case.head:
            width = backbone.ref.shape.d_model
            heads = [nn.Parameter(torch.arange(3.0 * width).sin().view(3, width))]
            params += heads  # type: ignore[arg-type]
        words = WORDS if case.name == "tiny-bert" and not case.head else None
        model = PackModel(backbone, None, heads, words, case.bf16, recompute=case.recompute)
        engine = choice.make("plain", model, [Group(params, 1e-3)], gang, stage=case.stage, offload=case.offload)
        try:
            yield engine, model, backbone, bits
        finally:
            engine.close()


def opened(case: Case, gang: Gang) -> Any:
    dtype = torch.bfloat16 if case.bf16 else torch.float32
    if case.stage == 3:
        ref = backbones.get(case.name)
        backbone = load(ref, f"random:{case.name}", dtype=dtype, sharding=Sharding(gang))
        object.__setattr__(backbone, "tokenizer", frozen(case.name).tokenizer)
        return backbone
    backbone = frozen(case.name)
    backbone.model.to(dtype)
    return backbone


def backbone_bits(backbone: Any) -> Any:
    return fingerprint(backbone.model) if getattr(backbone, "shards", None) is None else backbone.fingerprint()


def take(engine: Engine, case: Case, gang: Gang = ALONE, step: int = 0) -> tuple[float, float, tuple[int, int]]:
    """One step on this rank's rows of the batch: the loss of all rows, the gradient's norm, what it has reached."""
    loss = passed(engine, case, gang, step)
    count = engine.count(0), engine.count(0, reached=False)
    (norm,) = engine.clip([0], 1.0).tolist()
    engine.step()
    return loss, norm, count


def passed(engine: Engine, case: Case, gang: Gang = ALONE, step: int = 0, *, last: bool = True) -> float:
    """All passes of one step."""
    tensors = batch(case.name)
    asked = tensors["labels"].ne(-100).sum(1).tolist() if "labels" in tensors and case.name != "tiny-bert" else [1] * 4
    whole, mine = Batch(tensors, (0, 1, 2, 3), 0, asked), torch.zeros(1)
    bad = 1.0
    if case.bad is not None and case.bad[0] == step and case.bad[1] in (gang.rank, None):
        bad = case.bad[2]
    some = parts(whole, case.rows, gang)
    for number, (part, share) in enumerate(some, start=1):
        losses_K = engine.losses(part) * share * bad
        engine.backward(losses_K.sum(), last=last and number == len(some))
        mine += losses_K.detach()
    return float(engine.reduce(mine))


def read_too_soon(gang: Gang, case: Case) -> list[str]:
    """What is done of the copies of gradients that a card makes, and of the gradients, in their order."""
    done: list[str] = []
    with training(case, gang) as (engine, *_), pytest.MonkeyPatch.context() as patch:
        passed(engine, case, gang)
        optimizer: Any = engine._shards._optimizer  # type: ignore[attr-defined]
        optimizer._pending_offload_events["stream"] = SimpleNamespace(synchronize=lambda: done.append("waited"))
        read = shards._gradients

        def reading(*args: Any) -> Any:
            done.append("read")
            return read(*args)

        patch.setattr(shards, "_gradients", reading)
        engine.clip([0], 1.0)
    return done


def half_taken(gang: Gang, cases: list[Case]) -> list[list[Any]]:
    """Of each case two steps, undisturbed, and after passes that were given up."""
    return [[_steps(case, gang, given_up) for given_up in (False, True)] for case in cases]


def _steps(case: Case, gang: Gang, given_up: bool) -> list[Any]:
    found = []
    with training(case, gang) as (engine, *_):
        for step in range(2):
            if given_up:
                for last in (False, True):
                    passed(engine, replace(case, bad=(step, None, math.nan)), gang, step, last=last)
                engine.reset()
                assert engine.count(0) == 0
            found.append(take(engine, case, gang, step))
    return found


def resumed(gang: Gang, cases: list[Case]) -> list[list[Any]]:
    """Of each case the last two of four steps, in one engine, and in another one that takes values and state."""
    found = []
    for case in cases:
        with training(case, gang) as (engine, *_):
            begun = [take(engine, case, gang) for _ in range(2)]
            saved = engine.values(0), engine.state(0)
            whole = [take(engine, case, gang) for _ in range(2)]
        with training(case, gang) as (engine, *_):
            engine.set_values(0, saved[0])
            engine.load_state(0, saved[1])
            found.append([[*begun, *whole], [*begun, *(take(engine, case, gang) for _ in range(2))]])
    return found


def kept_weights(gang: Gang, case: Case) -> tuple[int, int]:
    """Of the weights that linear layers read in a pass, how many are kept by name, and how many with their numbers."""
    with pytest.MonkeyPatch.context() as patch, training(case, gang) as (engine, *_):
        patch.setattr(zero, "SMALL", SMALL)
        losses = engine.losses(batch(case.name))
        waiting, seen, named, whole = [losses.grad_fn], set(), 0, 0
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
            try:
                whole += getattr(node, "_saved_mat2", None) is not None
            except AssertionError:  # its layer would have to be gathered
                named += 1
        engine.backward(losses.sum())
    return named, whole


def left_behind(gang: Gang, cases: list[Case]) -> list[list[str]]:
    """What a run of each case has left on modules and parameters."""
    return [_left(case, gang) for case in cases]


def _left(case: Case, gang: Gang) -> list[str]:
    from deepspeed.runtime.zero.parameter_offload import FWD_MODULE_STACK

    from workers.gang.deepspeed import connected

    connected("cpu")
    backbone = opened(case, gang)

    def seen() -> dict[str, str]:
        found = {"layers": str([type(x) for x in FWD_MODULE_STACK]), "threads": str(threading.active_count())}
        for name, x in (*backbone.model.named_modules(), *backbone.model.named_parameters()):
            found |= {f"{name}.{key}": _said(value) for key, value in vars(x).items()}
            if isinstance(x, nn.Parameter):
                hooks: list[Any] = [x._backward_hooks, x._post_accumulate_grad_hooks]  # type: ignore[attr-defined]
                found[f"{name}: hooks"] = str(([len(some or ()) for some in hooks], x.grad))
        return found

    before = seen()
    with trainable_backbone(backbone.model) as params:
        model = PackModel(backbone, None, None, WORDS)
        engine = choice.make("plain", model, [Group(params, 1e-3)], gang, stage=case.stage)
        take(engine, case, gang)
        answers(model, batch(case.name))
        engine.close()
    dead = weakref.ref(engine)
    del engine, model, params
    gc.collect()
    after = seen()
    stays = ["the engine"] if dead() is not None else []
    return stays + [f"{k}: {before.get(k)} and {after.get(k)}" for k in before | after if before.get(k) != after.get(k)]


def _said(value: Any) -> str:
    """Of a dictionary what is in it, of other values which they are."""
    return (
        str({k: id(x) for k, x in value.items()})
        if isinstance(value, dict)
        else str(value if isinstance(value, int | set) else id(value))
    )
