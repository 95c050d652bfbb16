"""``--set KEY=VALUE``: values replaced, validated like the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from trials.errors import ApetError, Problems
from trials.sweep.sweep import Sweep

TEXT = """# a comment
name: small
backbones: [tiny-bert]
tasks: [rte]
methods:
  - lora  # low rank
  - {method: apet, counts: [8, 16]}
learning_rates: [1e-3]
training: {steps: 60, eval_every: 20}
"""


def base() -> Sweep:
    return Sweep.parse(TEXT, where="f.yaml")


def refused(*settings: str) -> str:
    with pytest.raises(ApetError) as error:
        base().with_(settings)
    return str(error.value)


def test_nothing_set_is_the_same_sweep() -> None:
    sweep = base()
    assert sweep.with_([]) is sweep


def test_scalars_lists_and_new_keys() -> None:
    found = base().with_(["training.steps=90", "learning_rates=[1e-2, 1e-1]", "training.early_stop=2", "train_seeds=2"])
    (first, *rest) = found.trials()
    assert (first.training.steps, first.training.eval_every, first.training.early_stop) == (90, 20, 2)
    assert len(rest) == 3 * 2 * 2 - 1
    assert {t.learning_rate for t in found.trials()} == {1e-2, 1e-1}
    assert base().trials()[0].training.steps == 60


def test_entries_of_a_list_and_names_that_become_mappings() -> None:
    found = base().with_(["methods.0.rank=4", "methods.1.counts.0=9", "tasks.0.train_rows=100", "backbones.0=tiny-t5"])
    lora, *apet = found.trials()
    assert lora.method.rank == 4
    assert [t.method.count for t in apet] == [9, 16]
    assert (lora.task.train_rows, lora.backbone.name) == (100, "tiny-t5")


def test_the_text_says_what_was_run_and_keeps_comments() -> None:
    found = base().with_(["training.steps=5"])
    assert "# a comment" in found.text
    assert Sweep.parse(found.text).trials() == found.trials()
    assert (found.name, base().text) == ("small", TEXT)
    assert found.with_(["training.steps=60"]).trials() == base().trials()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.steps", "give KEY=VALUE"),
        ("=5", "give KEY=VALUE"),
        ("training..steps=5", "give KEY=VALUE"),
        ("training.steps=[1", "not YAML"),
        ("training.steps=many", "training.steps: many, must be a whole number"),
        ("training.stps=5", "unknown key; did you mean steps?"),
        ("trainin.steps=5", "unknown key; did you mean training?"),
        ("methods.7.rank=4", "methods has no entry 7; it is a list of 2"),
        ("methods.lora.rank=4", "methods has no entry lora"),
        ("methods.1.counts.5=4", "methods.1.counts has no entry 5"),
        ("name.first=4", "name is small"),
        ("head=", "head: nothing (null)"),
        ("tasks.0=rtee", "did you mean rte?"),
        ("methods.1.counts=[0]", "0, must be a whole number, 1 or more"),
    ],
)
def test_bad_settings(setting: str, message: str) -> None:
    assert message in refused(setting)


def test_errors_name_the_setting_and_keep_the_places_of_the_file() -> None:
    with pytest.raises(Problems) as error:
        base().with_(["training.steps=-1", "backbones=[tiny-t5]", "methods.1.sites.add=[gat]"])
    assert set(error.value.problems) == {
        "--set methods.1.sites.add: methods.1.sites.add.0: site 'gat': add can't stand there on t5; did you mean gate? "
        "Choices: q, k, v, o, cross_q, cross_k, cross_v, cross_o, gate, up, down, norm",
        "--set training.steps: training.steps: -1, must be a whole number, 0 or more (0 evaluates only)",
    }
    sweep = base().with_(["training.steps=1"])
    with pytest.raises(Problems, match=r"f\.yaml:9:35: training\.early_stop"):
        Sweep.parse(TEXT.replace("eval_every: 20", "early_stop: 2"), where="f.yaml")
    assert sweep.trials()


def test_a_default_that_a_block_overrides_is_refused() -> None:
    text = TEXT + "blocks:\n  - {training: {steps: 9}}\n  - {head: frozen}\n"
    sweep = Sweep.parse(text, where="f.yaml")
    with pytest.raises(ApetError, match=r"blocks\.0\.training\.steps \(f\.yaml:11:24\) overrides it"):
        sweep.with_(["training.steps=5"])
    assert {t.training.steps for t in sweep.with_(["blocks.0.training.steps=5"]).trials()} == {5, 60}
    assert {t.training.batch_size for t in sweep.with_(["training.batch_size=8"]).trials()} == {8}


def test_relative_folders_stay_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(TEXT)
    found = Sweep.load(file).with_(["training.steps=5"])
    assert found.folder == tmp_path
    with pytest.raises(Problems, match=f"data_dir {tmp_path}/d: not found"):
        found.with_(["tasks.0.data_dir=d"])
