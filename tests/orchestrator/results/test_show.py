"""One trial, looked up in a store or a sweep."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pyarrow.fs as pafs
import pytest
from folders_for_tests import write_rows
from shell import SMALL, apet, refused, row, small, stored

from orchestrator.results.show import pack_of, show, trains
from orchestrator.text import as_text
from trials.errors import ApetError
from trials.modules.methods import count_of
from trials.modules.positions import layout
from trials.modules.sites import sites
from trials.pack import Pack
from trials.store.store import Store
from trials.sweep.sweep import Sweep


def test_from_a_sweep_it_says_what_trains_and_where(tmp_path: Path) -> None:
    path = small(tmp_path)
    trial = next(t for t in Sweep.load(path).trials() if t.method.count == 100)
    result = apet("show", trial.trial_id[:12], "--sweep", path)
    assert result.exit_code == 0, result.output
    assert "not run" in result.stdout
    assert "100 tunable parameters" in result.stdout
    found = json.loads(apet("show", trial.trial_id, "--sweep", path, "--json").stdout)
    assert found["trial_id"] == trial.trial_id
    assert json.dumps(found["spec"], sort_keys=True, separators=(",", ":"), ensure_ascii=False) == trial.spec
    for part in ("blocks", "kinds"):
        assert sum(n for held in found["trains"][part].values() for n in held.values()) == 100


@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-bloom", "tiny-t5"])
def test_scalars_add_up_for_every_method_from_a_sweep_and_a_store(backbone: str, tmp_path: Path) -> None:
    text = f"""\
backbones: [{backbone}]
tasks: [rte]
learning_rates: [0.001]
training: {{steps: 1}}
methods: [prompt, bitfit, lora, adapter, {{method: apet, counts: [1, 333], placement: [discrete, adjacent]}}]
"""
    mixed = "{method: apet, counts: [700], sites: {concat: [soft_tokens, q]}, tokens: 3, operations: {concat: 1}}"
    text = text.replace("methods: [", f"methods: [{mixed}, ")
    store = Store(tmp_path / "store", create=True)
    for trial in Sweep.parse(text).trials():
        store.append(row(trial))
        what = trains(trial)
        places, every = layout(trial).touched(), sites(trial.backbone, trial.method.tokens or 0)
        assert what.sites == (len(places), len(every))
        assert what.count == sum(what.operations.values()) == count_of(trial.method, trial.backbone)
        assert list(what.blocks) == list(dict.fromkeys(site.name.rpartition(".")[0] for site in places))
        assert what.kinds.keys() == {site.kind for site in places}
        for op, scalars in what.operations.items():
            for parts in (what.blocks, what.kinds):
                assert sum(held.get(op, 0) for held in parts.values()) == scalars
        shown = [
            apet("show", trial.trial_id, *place).stdout
            for place in (("--store", store.uri), ("--sweep", small(tmp_path, text)))
        ]
        head = f"{what.count:,} tunable parameters at {len(places)} of {len(every)} sites"
        for page in shown:
            assert head in page
            for place, held in {**what.blocks, **what.kinds}.items():
                line = next(line.split() for line in page.splitlines() if line.startswith(f"{place} "))
                cells = [sum(held.values()), *(held.get(op) for op in what.operations)]
                assert line[1:] == [as_text(n) for n in cells]


def test_lora_sits_on_queries_and_values(tmp_path: Path) -> None:
    trial = next(t for t in Sweep.load(small(tmp_path)).trials() if t.method.name == "lora")
    what = trains(trial)
    assert what.kinds == {"q": {"concat": 512}, "v": {"concat": 512}}
    assert what.blocks == {"encoder.0": {"concat": 512}, "encoder.1": {"concat": 512}}
    assert what.sites is not None
    assert what.sites[0] == 4


def test_a_prompt_stands_before_the_first_block() -> None:
    text = """\
{backbones: [tiny-t5], tasks: [rte], methods: [{method: prompt, tokens: 3}], learning_rates: [1e-3],
training: {steps: 1}}
"""
    (trial,) = Sweep.parse(text).trials()
    what = trains(trial)
    assert (what.operations, what.kinds, what.blocks) == (
        {"concat": 192},
        {"soft_tokens": {"concat": 192}},
        {"encoder.input": {"concat": 192}},
    )
    assert what.sites is not None
    assert what.sites[0] == 1


def test_from_a_store_scores_states_and_commands(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    completed = apet("show", trials[0].trial_id[:8], "--store", store.uri).stdout
    assert "completed" in completed
    assert "0.625" in completed
    assert "completed, 1 attempt\n" in completed
    assert "all of the backbone" in completed
    failed = apet("show", trials[1].trial_id[:8], "--store", store.uri).stdout
    assert "ValueError: no such luck" in failed
    assert "line 39" in failed
    assert "line 24" not in failed
    assert f"apet resubmit --store {store.uri} --where \"trial_id = '{trials[1].trial_id}'\"" in failed


def test_how_a_pack_ran_is_shown(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    how = {"ranks": 2, "zero_stage": 3, "offload": False, "recompute": True, "micro_batch": 4, "threads": 1}
    store.append(row(trials[3], **how))
    page = apet("show", trials[3].trial_id, "--store", store.uri).stdout
    shown = dict(line.split() for line in page.splitlines() if line.split()[:1] and line.split()[0] in how)
    assert shown == {name: as_text(value) for name, value in how.items()}


def test_a_pack_is_set_up_as_its_sweep_wishes(tmp_path: Path) -> None:
    sweep = small(tmp_path, SMALL + "resources: {gpus: 0, pack_size: 4, checkpoint_s: 5}\n")
    (trial, *_) = Sweep.load(sweep).trials()
    asked = ("--set", "resources.zero_stage=3", "--set", "resources.recompute=true")
    result = apet("show", trial.trial_id, "--sweep", sweep, "--pack", *asked)
    setup = Pack.from_json(result.stdout).setup
    assert (setup.zero_stage, setup.recompute, setup.pack_size, setup.checkpoint_s) == (3, True, 1, 5.0)
    more = ("--sweep", sweep, "--pack", "--set", "resources.gpus=2")
    refused("show", trial.trial_id, *more, says=[trial.trial_id, "there is", "resources.gpus is 2"])


def test_a_trial_that_failed_by_its_input_wants_it_mended_or_put_back(tmp_path: Path) -> None:
    """Its class says so and no path in its error: weights may lie in a folder whose name goes on from the data's."""
    store, trials = stored(tmp_path)
    where = {"weights_source": "folder:/srv/apet-models", "data_source": "folder:/srv/apet", "error_class": "ApetError"}
    message = "/srv/apet-models/model.safetensors: header too large"
    store.append(row(trials[3], "failed", **where, error_message=message, failure_class="bad_input"))
    store.append(row(trials[4], "failed", **where, error_message=message, failure_class="bad_trial"))
    store.append(row(trials[5], "failed", **where, error_message=message))  # of the first schema
    by_input, *others = (apet("show", trial.trial_id, "--store", store.uri).stdout for trial in trials[3:6])
    again = f"apet resubmit --store {store.uri} --where \"trial_id = '{trials[3].trial_id}'\""
    assert f"error (bad_input): ApetError: {message}\n" in by_input
    assert (
        f"with its weights or data mended, which makes new trials\n  apet run SWEEP --store {store.uri}\n" in by_input
    )
    assert f"with what it was given back in its place\n  {again}\n" in by_input
    for other in others:
        assert f"to run it alone\n  apet resubmit --store {store.uri}" in other
        assert "mended" not in other


def test_rows_that_were_cut(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    rows = {"train_rows": 45, "validation_rows": 10, "test_rows": 10, "truncated_rows": 10}
    store.append(row(trials[3], **rows))
    store.append(row(trials[4], **rows, transfer_sources={"sst2": "folder:/x"}))
    alone, transfer = (apet("show", trial.trial_id, "--store", store.uri).stdout for trial in trials[3:5])
    assert re.search(r"^cut rows +10 of 65$", alone, re.MULTILINE)
    assert re.search(r"^cut rows +10 of 65 and the test rows of the transfer targets$", transfer, re.MULTILINE)


def test_the_visible_attempt_is_the_one_shown(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    store.append(row(trials[1], "completed", attempt=1, test_score=0.75))
    shown = show(trials[1].trial_id, store)
    assert shown.row is not None
    assert (shown.row["state"], shown.row["test_score"], len(shown.attempts)) == ("completed", 0.75, 2)
    assert shown.log == ()


def rerun_lists_one(command: str, folder: Path) -> list[object]:
    """What ``apet run``, as printed, would run."""
    words = [str(folder / word) if word in ("URI", "OTHER") else word for word in shlex.split(command)]
    assert words[:2] == ["apet", "run"]
    result = apet(*words[1:], "--dry-run")
    assert result.exit_code == 0, result.output
    return [line.split()[0] for line in result.stdout.splitlines()[1:]]


def test_the_command_that_reruns_it_alone_is_real(tmp_path: Path) -> None:
    """Of an edited copy that kept a built-in name, too, and with ``--set``."""
    folder = tmp_path / "my sweeps"
    folder.mkdir()
    path = small(folder, SMALL.replace("name: small", "name: quickstart"))
    sweep = Sweep.load(path)
    trial = sweep.trials()[5]
    command = show(trial.trial_id, sweep=sweep).rerun[0]
    assert command == f"apet run '{path}' --store URI --where \"trial_id = '{trial.trial_id}'\""
    assert rerun_lists_one(command, tmp_path) == [trial.trial_id]
    changed = sweep.with_(["training.steps=3"])
    trial = changed.trials()[5]
    assert rerun_lists_one(show(trial.trial_id, sweep=changed).rerun[0], tmp_path) == [trial.trial_id]

    store = Store(tmp_path / "store", create=True)
    store.append(row(trial, sweep="quickstart"))
    assert "apet run SWEEP" in show(trial.trial_id, store).rerun[0]
    store.save_sweep("quickstart", changed.standalone())
    assert rerun_lists_one(show(trial.trial_id, store).rerun[0], tmp_path) == [trial.trial_id]


WITH_DATA = """\
backbones: [tiny-bert]
tasks: [{name: rotten_tomatoes, data_dir: ../data/reviews}]
methods: [bitfit, {method: lora, rank: 2}]
learning_rates: [1.0e-3]
training: {steps: 4, batch_size: 2}
"""


@pytest.fixture
def with_data(tmp_path: Path) -> Sweep:
    """A sweep of a file elsewhere, named by it, whose data lies beside it."""
    for split in ("train", "validation", "test"):
        write_rows(tmp_path / "data" / "reviews" / f"{split}.jsonl")
    (tmp_path / "sweeps").mkdir()
    path = tmp_path / "sweeps" / "my_own.yaml"
    path.write_text(WITH_DATA)
    return Sweep.load(path)


@pytest.mark.parametrize("kind", ["path", "relative", "file"])
def test_the_command_of_a_stores_own_sweep_can_be_pasted(
    kind: str, with_data: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever names the store, and though the sweep named its data relative to its own file."""
    monkeypatch.chdir(tmp_path)
    place = {"path": tmp_path / "store", "relative": "store", "file": (tmp_path / "store").as_uri()}[kind]
    store = Store(place, create=True)
    for trial in with_data.trials():
        store.append(row(trial, sweep=with_data.name))
    store.save_sweep(with_data.name, with_data.standalone())
    wanted = with_data.trials()[1].trial_id
    (command, _) = show(wanted, store).rerun
    assert rerun_lists_one(command, tmp_path) == [wanted]
    saved = Sweep.load(shlex.split(command)[2])
    assert (saved.name, saved.trials()) == ("my_own", with_data.trials())
    by_uri = Sweep.load((tmp_path / "sweeps" / "my_own.yaml").as_uri())
    assert (by_uri.name, by_uri.trials()) == ("my_own", with_data.trials())


def test_a_sweep_is_found_on_any_file_system(with_data: Sweep) -> None:
    store = Store("studies/one", create=True, filesystem=pafs._MockFileSystem())
    trial = with_data.trials()[0]
    store.append(row(trial, sweep=with_data.name))
    path = store.save_sweep(with_data.name, with_data.standalone())
    assert show(trial.trial_id, store).rerun[0].startswith(f"apet run studies/one/{path} --store OTHER --where")


def test_a_sweep_of_a_uri_that_is_not_there(tmp_path: Path) -> None:
    refused("plan", (tmp_path / "none.yaml").as_uri(), says=["none.yaml", "no such file", "apet sweeps"])
    refused("plan", "nonsense://x/y.yaml", says=["nonsense"])


def test_a_built_in_sweep_is_named_where_it_holds_the_trial() -> None:
    sweep = Sweep.load("count-small")
    assert show(sweep.trials()[0].trial_id, sweep=sweep).rerun[0].startswith("apet run count-small ")


def test_pack_is_one_that_a_worker_reads(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    pack = Pack.from_json(apet("show", trials[1].trial_id, "--store", store.uri, "--pack").stdout)
    assert [(m.trial, m.attempt) for m in pack.members] == [(trials[1], 1)]
    assert pack.sources.data == "hub:nyu-mll/glue@x"
    assert pack_of(show(trials[5].trial_id, sweep=Sweep.load(small(tmp_path)))).members[0].attempt == 0


def test_scores_beside_a_sweep_when_a_store_is_given(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    assert "0.625" in apet("show", trials[0].trial_id, "--store", store.uri, "--sweep", small(tmp_path)).stdout


def test_wrong_or_ambiguous_ids(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    path = small(tmp_path)
    refused("show", "zz", "--sweep", path, says=["no trial 'zz'", "apet plan"])
    refused("show", "zz", "--store", store.uri, says=["no trial 'zz'", "apet query"])
    refused("show", "", "--sweep", path, says=["more digits"])
    refused("show", trials[0].trial_id, says=["--store", "--sweep"])


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ApetError, match="no store"):
        show("ab", Store(tmp_path / "none"))
