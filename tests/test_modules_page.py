"""docs/modules.md: its picture shows what the layouts say, its numbers are the code's."""

from __future__ import annotations

import re

import pytest
from paths import DOCS

from orchestrator.reporting import placements
from trials import backbones
from trials.modules import methods
from trials.modules.counts import unit_size
from trials.modules.operations import default_sites
from trials.modules.positions import layout
from trials.modules.sites import sites
from trials.trial import BackboneRef, Source, TaskRef, Training, Trial

LIMITS = re.findall(r"^\| ((?:bert|bloom|t5)-\w+) \| (.*) \|$", (DOCS / "modules.md").read_text(), re.MULTILINE)


def numbers(text: str) -> list[int]:
    return [int(number.replace(" ", "")) for number in re.findall(r"\d+(?: \d{3})*", text)]


def spread(ref: BackboneRef, count: int, placement: str) -> int:
    """Layers that a count of concat reaches."""
    method = methods.apet(ref.family, count, {"concat": 1}, placement=placement)
    task = TaskRef("rte", Source("folder", "rte", "0"))
    return len(layout(Trial(ref, task, method, 1e-3, Training(steps=1), position_seed=0)).touched())


def test_the_picture_is_of_todays_layouts() -> None:
    svg = (DOCS / "placements.svg").read_text()
    assert f"<!-- {placements.fingerprint()} -->" in svg
    assert len(svg) < 150_000
    assert placements.svg().count("<line") == svg.count("<line")


@pytest.mark.parametrize("placement", ["discrete", "adjacent"])
def test_the_picture_has_every_scalar(placement: str) -> None:
    marks = placements.marks(placement)
    given = {op: sum(round(m.share * unit_size(op, m.site)) for m in marks if m.op == op) for op in placements.SAID}
    assert given == {"add": 512, "concat": 512, "plug": 512}
    assert sum(m.share < 1 for m in marks) == 2
    blocks = {m.site.block for m in marks}
    assert blocks == (set(range(placements.BLOCKS)) if placement == "discrete" else {3, 4, 5})


def test_the_limits_are_the_codes() -> None:
    assert [name for name, _ in LIMITS] == ["bert-small", "bert-large", "bloom-560m", "bloom-7b1", "t5-small", "t5-xxl"]
    for name, cells in LIMITS:
        ref = backbones.get(name)
        concat, plug, *reached = (numbers(cell) for cell in cells.split("|"))
        for op, said in (("concat", concat), ("plug", plug)):
            sizes = [unit_size(op, site) for site in sites(ref) if site.kind in default_sites(ref.family, op)]
            assert {min(sizes), max(sizes)} == set(said)
        linear = sum(site.kind != "norm" for site in sites(ref))
        discrete = [spread(ref, 10**power, "discrete") for power in (3, 4, 5, 6)]
        assert [number for cell in reached for number in cell] == [*discrete, linear]
        assert spread(ref, 1000, "adjacent") == 1
