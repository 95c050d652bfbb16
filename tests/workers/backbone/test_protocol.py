"""The study's training protocol: AdamW at a constant rate from the first step, no decay, no dropout, bf16 by device."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from worker_for_tests import given

from trials import backbones
from trials.pack import Member, Pack, Sources
from trials.store.answers import Answered
from trials.store.store import Store
from trials.trial import Training, Trial
from workers.backbone import weights
from workers.backbone.pretrained import SETTINGS
from workers.engines import choice
from workers.engines.engine import Group
from workers.environment import precision_of
from workers.pack import loop as training_loop
from workers.pack.evaluate import Scores
from workers.pack.loop import Job
from workers.pack.progress import Ended
from workers.worker import Worker


class Slope(nn.Module):
    """A loss whose gradient is 1 everywhere: then each of Adam's steps is as long as the rate."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.full((3,), 5.0))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """[1] loss."""
        return self.theta.sum()[None]


@pytest.mark.parametrize("name", choice.ENGINES)
def test_every_step_is_as_long_as_the_rate(name: str) -> None:
    """No warm-up, no decay of the rate, none of the weights (at 5.0, torch's default of 0.01 would show)."""
    model, rate = Slope(), 1e-2
    engine = choice.make(name, model, [Group([model.theta], rate)])
    for step in range(1, 31):
        engine.backward(engine.losses({}).sum())
        engine.step()
        torch.testing.assert_close(model.theta.detach(), torch.full((3,), 5.0 - step * rate), rtol=0, atol=1e-5)
    engine.close()


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-bloom", "tiny-t5"])
def test_no_dropout_even_in_training_mode(name: str) -> None:
    ref = backbones.get(name)
    model = weights._empty(ref).train()
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} <= {0.0}
    assert all(getattr(model.config, key) == value for key, value in SETTINGS[ref.family].items())


def test_bf16_where_the_device_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has: has)
        assert precision_of("auto", "cuda") == ("bf16" if has else "fp32")
    assert precision_of("auto", "cpu") == "fp32"
    assert precision_of("bf16", "cpu") == "bf16"


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-bloom", "tiny-t5"])
def test_full_in_bf16_is_close_to_float32_and_leaves_the_next_trial_alone(
    name: str, tmp_path: Path, trial: Any
) -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        training = Training(steps=10, batch_size=16, precision=precision)
        fields = {"training": training, "learning_rate": 1e-4}
        full, after = trial(name, method="full", trial=fields), trial(name, method="lora", trial=fields)
        store, fresh = Store(tmp_path / precision, create=True), Store(tmp_path / f"{precision}-fresh", create=True)
        worker = Worker(store)
        ended = [e for one in (full, after) for e in run(worker, one, tmp_path)]
        assert [(e.state, e.error_message) for e in ended] == [("completed", None)] * 2
        run(Worker(fresh), after, tmp_path)
        assert train_loss(store, after) == train_loss(fresh, after)
        losses[precision] = train_loss(store, full)
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("name", ["tiny-bert", "tiny-bloom", "tiny-t5"])
def test_the_test_is_taken_at_the_best_validation_step(
    name: str, method: str, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_validation = [0.5, 0.9, 0.1]  # of steps 2, 4 and 6
    seen: dict[str, list[Tensor]] = {"validation": [], "test": []}

    def scores(job: Job, states: Any, data: Any, secondary: bool = False) -> list[Scores]:
        split = "validation" if data is job.validation else "test"
        seen[split].append(torch.cat([p.flatten() for p in job.engine.values(0)]))
        score = on_validation[len(seen[split]) - 1] if split == "validation" else 0.7
        return [Scores(score, {}, Answered([score], ["no"]))]

    monkeypatch.setattr(training_loop, "_scores", scores)
    training = Training(steps=6, batch_size=4, eval_every=2)
    one = trial(name, method=method, trial={"training": training, "learning_rate": 1e-3})
    store = Store(tmp_path / "store", create=True)
    assert [e.state for e in run(Worker(store), one, tmp_path)] == ["completed"]
    row = store.trials().to_pylist()[0]
    assert (row["best_step"], row["validation_score"], row["test_score"]) == (4, 0.9, 0.7)
    assert len(seen["validation"]) == 3
    assert len(seen["test"]) == 1
    assert torch.equal(seen["test"][0], seen["validation"][1])
    assert not torch.equal(seen["test"][0], seen["validation"][2])


def run(worker: Worker, one: Trial, folder: Path) -> list[Ended]:
    """How a trial on sixteen reviews ended."""
    rows = [{"text": f"a {word} film number {i}", "label": i % 2} for i, word in enumerate(("dull", "fine") * 8)]
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pack = Pack("pack", (Member(given(one, folder)),), Sources(f"random:{one.backbone.name}", f"folder:{folder}"))
    return [ended for progress in worker.run(pack) for ended in progress.ended]


def train_loss(store: Store, one: Trial) -> float:
    """Of a trial's last step."""
    method = one.method.name
    return float(next(r["train_loss"] for r in store.trials().to_pylist() if r["method"] == method))
