"""The built-in sweeps hold the study's trials: so many per backbone, with its settings."""

from __future__ import annotations

from collections import Counter

import pytest
from paths import DOCS, ROOT

from trials.sweep import acting
from trials.sweep.sweep import Sweep, builtin_names, builtin_text
from trials.trial import Trial

STUDY = {  # trials per family, and of full fine-tuning in each of them (Su et al. 2023, and where it is silent, ours)
    "methods": ({"bert": 288, "bloom": 792, "t5": 1188}, {}),
    "position": ({"bert": 120, "bloom": 240, "t5": 360}, {}),
    "count": ({"bert": 288, "bloom": 576, "t5": 864}, {"bert": 36, "bloom": 36, "t5": 36}),
    "transfer": ({"bert": 96, "t5": 288}, {}),
}
CLASSIFIED = {"sst2", "imdb", "rotten_tomatoes", "mnli", "qnli", "rte", "mrpc", "qqp"}
WRITTEN = {"nq_open", "samsum", "multi_news"}
TOTALS = {"methods": 2268, "position": 720, "count": 1836, "transfer": 384}


def trials(name: str) -> tuple[Trial, ...]:
    return Sweep.load(name).trials()


def by_family(some: list[Trial]) -> dict[str, int]:
    return dict(Counter(t.backbone.family for t in some))


@pytest.mark.parametrize("name", STUDY)
def test_so_many_trials(name: str) -> None:
    every, (modules, full) = trials(name), STUDY[name]
    assert len(every) == TOTALS[name]
    assert Sweep.load(name).duplicates == 0
    assert by_family([t for t in every if t.method.name != "full"]) == modules
    assert by_family([t for t in every if t.method.name == "full"]) == full
    sizes = Counter((t.backbone.family, t.backbone.name) for t in every)
    for family in modules:
        assert len({n for (of, _), n in sizes.items() if of == family}) == 1, "its scales have equally many"


@pytest.mark.parametrize("name", STUDY)
def test_the_protocol_is_the_study_s(name: str) -> None:
    for training in {t.training for t in trials(name)}:
        assert (training.steps, training.batch_size, training.eval_every) == (20_000, 32, 1_000)
        assert (training.early_stop, training.precision) == (None, "auto")
    rates: dict[tuple[str, bool], set[float]] = {}
    for t in trials(name):
        rates.setdefault((t.backbone.family, t.method.name == "full"), set()).add(t.learning_rate)
    paper = {
        ("bert", False): {3e-4},
        ("bloom", False): {3e-4, 5e-5},
        ("t5", False): {1e-4, 1e-3, 1e-2},
        ("bert", True): {1e-5, 3e-5},
        ("bloom", True): {1e-5, 5e-5},
        ("t5", True): {1e-4, 1e-3},
    }
    assert rates == {key: paper[key] for key in rates}


def test_methods_have_the_sizes_and_tasks_of_the_study() -> None:
    every = trials("methods")
    sizes = {(t.method.name, t.method.tokens, t.method.rank, t.method.alpha, t.method.bottleneck) for t in every}
    assert sizes == {
        ("prompt", 100, None, None, None),
        ("bitfit", None, None, None, None),
        ("lora", None, 8, 16.0, None),
        ("adapter", None, None, None, 24),
    }
    assert {t.task.name for t in every if t.backbone.family == "t5"} == CLASSIFIED | WRITTEN
    assert {t.task.name for t in every if t.backbone.family == "bert"} == CLASSIFIED
    assert {t.train_seed for t in every} == {0, 1, 2}


def test_position_has_four_counts_at_five_places() -> None:
    some = [t for t in trials("position") if t.backbone.name == "t5-xxl"]
    assert {t.method.count for t in some} == {409_600, 2_859_008, 6_291_456, 19_269_888}
    assert {t.position_seed for t in some} == set(range(5))
    assert {t.task.name for t in some} == {"sst2", "rte", "mrpc"}


def test_count_has_sixteen_counts_up_to_the_adapter_s_and_three_full_runs() -> None:
    some = [t for t in trials("count") if t.backbone.name == "bert-large"]
    counts = {t.method.count for t in some if t.method.count}
    assert (len(counts), min(counts), max(counts)) == (16, 16, 2_409_600)
    assert {t.train_seed for t in some if t.method.name == "full"} == {0, 1, 2}
    assert {t.position_seed for t in some if t.method.name == "apet"} == {0, 1, 2}


@pytest.mark.parametrize("name", ["transfer", "transfer-small"])
def test_every_source_of_transfer_is_scored_on_every_other_task(name: str) -> None:
    every = trials(name)
    sources = {t.task.name for t in every}
    assert name == "transfer-small" or sources == CLASSIFIED
    for t in every:
        assert {target.name for target in t.evaluate_on} == sources - {t.task.name}
        assert t.labels == "unified"
    assert {t.method.placement for t in every} == {"discrete", "adjacent"}
    assert {t.method.operations is not None and len(t.method.operations) for t in every} == {3}
    known = {acting.target(t.task) for t in every}  # the entries of `tasks`, limits of test rows included
    assert all(target in known for t in every for target in t.evaluate_on)


def test_every_study_has_a_small_variant_that_the_laptop_s_encoders_run() -> None:
    assert set(builtin_names()) == {"quickstart", *STUDY, *(f"{name}-small" for name in STUDY)}
    for name in STUDY:
        small = trials(f"{name}-small")
        assert {t.backbone.name for t in small} == {"quickstart-l3", "quickstart-l6"}
        assert {t.method.name for t in small} == {t.method.name for t in trials(name)}
        assert name == "transfer" or {t.task.name for t in small} == {"rotten_tomatoes"}  # of the quickstart's package


def test_every_file_begins_with_one_line_of_what_it_is() -> None:
    for name in builtin_names():
        first, second, *_ = builtin_text(name).splitlines()
        assert first.startswith("# "), name
        assert len(first) <= 120, name
        assert Sweep.load(name).name == name
        assert second.startswith("# "), name


def test_the_documentation_s_table_is_true() -> None:
    text = (DOCS / "sweep-file.md").read_text()
    for name in STUDY:
        of_study, small = (f"{len(trials(n)):,}".replace(",", " ") for n in (name, f"{name}-small"))
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"| {of_study} |" in row
        assert f"`{name}-small`, {small} |" in row


def test_the_sweep_among_the_benchmarks_loads() -> None:
    file = ROOT / "benchmarks" / "glue-l6.yaml"
    assert Counter(t.task.name for t in Sweep.load(file).trials()) == {"sst2": 10, "rte": 10, "mrpc": 10}
