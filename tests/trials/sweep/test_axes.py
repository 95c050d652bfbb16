"""The axes of a sweep file: what multiplies, what is a default, what a method resolves to."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from sweeps_for_tests import apet, column, one, sweep

from trials.backbones import BACKBONES
from trials.modules import counts, methods
from trials.modules.methods import METHODS, MIXTURE
from trials.sweep.axes import geometric
from trials.sweep.resources import Resources
from trials.sweep.schema import METHOD_MODELS
from trials.sweep.sweep import Sweep


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("APET_DATA", raising=False)


# Axes and defaults


def test_defaults_are_written_out() -> None:
    trial = one()
    assert trial.backbone == BACKBONES["tiny-bert"]
    assert (trial.train_seed, trial.position_seed, trial.labels, trial.evaluate_on) == (0, None, "own", ())
    assert (trial.method.rank, trial.method.alpha, trial.head) == (8, 16.0, "verbalizer")
    training = trial.training
    assert (training.batch_size, training.eval_every, training.early_stop, training.precision) == (
        32,
        None,
        None,
        "auto",
    )
    assert sweep().resources == Resources()
    assert sweep().name == "sweep"


def test_axes_multiply() -> None:
    found = sweep(
        backbones=["tiny-bert", "tiny-t5"],
        tasks=["rte", "sst2"],
        methods=["bitfit", apet(counts=[10, 20], placement=["discrete", "adjacent"], position_seeds=3)],
        train_seeds=[0, 7],
        learning_rates=[1e-3, 1e-2],
    )
    assert len(found.trials()) == 2 * 2 * 2 * 2 * (1 + 2 * 2 * 3)
    assert len({trial.trial_id for trial in found.trials()}) == len(found.trials())
    assert found.duplicates == 0
    assert Counter(column(found, "position_seed")) == {None: 16, 0: 64, 1: 64, 2: 64}


def test_seeds_are_a_number_or_a_list() -> None:
    assert column(sweep(train_seeds=3), "train_seed") == [0, 1, 2]
    assert column(sweep(train_seeds=[5, 2]), "train_seed") == [5, 2]
    assert column(sweep(methods=[apet(position_seeds=[4])]), "position_seed") == [4]
    assert column(sweep(methods=[apet()]), "position_seed") == [0]


def test_a_method_has_its_own_rates_and_train_seeds() -> None:
    found = sweep(methods=["bitfit", {"method": "full", "learning_rates": [1e-5], "train_seeds": 2}])
    have = [(t.method.name, t.learning_rate, t.train_seed) for t in found.trials()]
    assert have == [("bitfit", 1e-3, 0), ("full", 1e-5, 0), ("full", 1e-5, 1)]
    assert one(methods=[{"method": "lora", "learning_rates": [0.5]}], learning_rates=None).learning_rate == 0.5


def test_a_whole_learning_rate_is_a_float_all_the_same() -> None:
    assert '"learning_rate":1.0' in one(learning_rates=[1]).spec
    assert one(learning_rates=[1]).trial_id == one(learning_rates=[1.0]).trial_id
    assert '"alpha":4.0' in one(methods=[{"method": "lora", "alpha": 4}]).spec


def test_numbers_are_those_of_yaml_1_2() -> None:
    text = "{backbones: [tiny-bert], tasks: [rte], methods: [lora], learning_rates: [1e-3], training: {steps: 010}}"
    (trial,) = Sweep.parse(text).trials()
    assert (trial.learning_rate, trial.training.steps) == (1e-3, 10)


def test_rates_of_the_paper_by_family_and_method() -> None:
    found = sweep(backbones=["bert-small", "bloom-560m", "t5-small"], methods=["lora", "full"], learning_rates="paper")
    rates: dict[tuple[str, str], list[float]] = {}
    for trial in found.trials():
        rates.setdefault((trial.backbone.family, trial.method.name), []).append(trial.learning_rate)
    assert rates == {
        ("bert", "lora"): [3e-4],
        ("bloom", "lora"): [3e-4, 5e-5],
        ("t5", "lora"): [1e-4, 1e-3, 1e-2],
        ("bert", "full"): [1e-5, 3e-5],
        ("bloom", "full"): [1e-5, 5e-5],
        ("t5", "full"): [1e-4, 1e-3],
    }


def test_lengths_come_from_the_task() -> None:
    assert one(tasks=["sst2"]).training.max_input_length == 128
    assert one(tasks=["rte"]).training.max_input_length == 256


def test_zero_steps_are_allowed() -> None:
    assert one(training={"steps": 0}).training.steps == 0


# Methods


def test_every_method_of_the_table_has_its_keys_here() -> None:
    assert set(METHOD_MODELS) == set(METHODS)
    for name, model in METHOD_MODELS.items():
        for size, row in METHODS[name].sizes.items():
            assert model.model_fields[size].default == row.default


def test_operations_and_sites_are_resolved() -> None:
    method = one(methods=[apet(operations={"plug": 4, "add": 2})]).method
    assert method.operations == {"add": 1, "plug": 2}
    assert method.sites == {"add": ("q", "v", "o", "up", "down"), "plug": ("o", "down")}
    assert one(methods=[apet()]).method.operations == MIXTURE


def test_writing_a_default_out_changes_no_id() -> None:
    written = apet(
        operations={"concat": 3, "plug": 3, "add": 3},
        sites={"add": ["down", "q", "v", "up", "o"]},
        placement="discrete",
        position_seeds=[0],
        over_capacity="error",
    )
    assert one(methods=[written]).trial_id == one(methods=[apet()]).trial_id
    long = {"method": "lora", "rank": 8, "alpha": 16}
    assert one(methods=[long], head="auto", labels="own", train_seeds=1).trial_id == one().trial_id


def test_the_same_sites_differ_by_family() -> None:
    found = sweep(backbones=["tiny-bert", "tiny-t5"], methods=[apet(operations={"plug": 1})])
    assert [t.method.sites for t in found.trials()] == [{"plug": ("o", "down")}, {"plug": ("o", "cross_o", "down")}]


@pytest.mark.parametrize(
    ("low", "high", "points", "expected"),
    [
        (16, 16384, 6, [16, 64, 256, 1024, 4096, 16384]),
        (1, 3, 5, [1, 2, 3]),
        (7, 7, 4, [7]),
        (1, 10, 3, [1, 3, 10]),
        (10, 2_409_600, 4, [10, 622, 38722, 2_409_600]),
    ],
)
def test_geometric_counts(low: int, high: int, points: int, expected: list[int]) -> None:
    assert geometric(low, high, points) == expected


def test_counts_up_to_capacity_and_to_a_method() -> None:
    ref = BACKBONES["tiny-bert"]
    capacity = sum(counts.capacity(ref, MIXTURE).values())
    found = column(sweep(methods=[apet(counts={"from": 1, "to": "capacity", "points": 5})]), "method", "count")
    assert (found[0], found[-1], len(found)) == (1, capacity, 5)
    found = column(sweep(methods=[apet(counts={"from": 1, "to": "adapter", "points": 3})]), "method", "count")
    assert found[-1] == methods.count_of(methods.named("adapter"), ref)


def test_counts_like_other_methods_on_each_backbone() -> None:
    found = sweep(backbones=["bert-base", "t5-small"], methods=[apet(counts={"like": ["bitfit", "lora", "adapter"]})])
    assert column(found, "method", "count") == [102144, 294912, 903744, 102400, 229376, 803584]


def test_above_capacity_is_skipped_when_asked() -> None:
    shares = {"operations": {"add": 1}}
    found = sweep(methods=[apet(counts=[768, 769], over_capacity="skip", position_seeds=2, **shares)])
    assert column(found, "method", "count") == [768, 768]
    assert len(found.skipped) == 2
    trial, reason = found.skipped[0]
    assert "count 769" in trial
    assert "add 768" in reason
