"""Which node type holds what of a sweep, and what it costs: as the planning decides it for the file's machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster_files import case, good

from orchestrator.clusters.holdings import Holding, holdings
from orchestrator.planning.setups import Setups
from orchestrator.planning.times import work
from trials.sweep.sweep import Sweep

SWEEP = """\
name: two
backbones: [bert-small, t5-xxl]
tasks: [rte]
methods: [full, {method: lora, rank: 8}]
learning_rates: [1.0e-3, 1.0e-2]
training: {steps: 60, batch_size: 32}
"""


def held(folder: Path, text: str, sweep: str = SWEEP) -> dict[tuple[str, str], Holding]:
    (folder / "two.yaml").write_text(sweep)
    found = holdings(case(folder, text).file, Sweep.load(str(folder / "two.yaml")))
    return {(one.backbone, one.methods): one for one in found}


def test_each_goes_where_it_costs_the_least(tmp_path: Path) -> None:
    found = held(tmp_path, good("aws"))
    (small,) = (one for (backbone, _), one in found.items() if backbone == "bert-small")  # its methods run alike
    assert (small.node_type, small.others) == ("small", ("large",))
    assert found["t5-xxl", "full"].node_type == "large"
    assert found["t5-xxl", "full"].others == ()
    dear = good("aws").replace('apet-price: "0.5"', 'apet-price: "500"')
    alone = SWEEP.replace("bert-small, t5-xxl", "bert-small")  # else the large type is kept for what needs it
    assert {one.node_type for one in held(tmp_path, dear, alone).values()} == {"large"}


def test_hours_and_dollars_are_those_of_the_planning(tmp_path: Path) -> None:
    found = held(tmp_path, good("aws"))["t5-xxl", "full"]
    sweep = Sweep.load(str(tmp_path / "two.yaml"))
    trials = [one for one in sweep.trials() if one.backbone.name == "t5-xxl" and one.method.name == "full"]
    fit = Setups(sweep.trials(), case(tmp_path, good("aws")).file.machines(), sweep.resources).fit(trials[0])
    seconds, _ = work(trials, fit.setup, {}, None, fit.card)
    assert found.trials == len(trials) == 2
    assert found.hours == pytest.approx(seconds / 3600 * 2 / fit.at_once)  # two nodes, so many packs on both
    assert found.cost == pytest.approx(found.hours * 12)


def test_what_fits_nowhere_is_said_with_what_would_hold_it(tmp_path: Path) -> None:
    text = good("aws").replace("p4de.24xlarge", "g4dn.xlarge")
    found = held(tmp_path, text)["t5-xxl", "full"]
    assert found.node_type == ""
    assert found.cost == 0
    assert "takes" in found.lacking
    assert "it would be" in found.lacking


def test_nothing_is_said_where_no_machine_is_known(tmp_path: Path) -> None:
    assert held(tmp_path, good("local")) == {}


def test_weights_that_are_made_on_the_node_take_no_disk(tmp_path: Path) -> None:
    found = held(tmp_path, good("aws"), SWEEP.replace("bert-small, t5-xxl", "tiny-bert, bert-small"))
    assert {one.backbone: bool(one.weights) for one in found.values()} == {"tiny-bert": False, "bert-small": True}
