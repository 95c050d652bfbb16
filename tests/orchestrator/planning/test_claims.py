"""What ``plan`` says that a sweep's thresholds will rest on."""

from __future__ import annotations

from shell import apet

from orchestrator.planning.claims import claims
from trials.sweep.sweep import Sweep

SMALL = """
backbones: [tiny-bert]
tasks: [rotten_tomatoes]
methods:
{full}  - {{method: apet, counts: {counts}, position_seeds: {seeds}}}
train_seeds: {trains}
learning_rates: [1.0e-2]
training: {{steps: 2, batch_size: 4}}
head: {head}
"""


def said(
    counts: str = "[4, 8]", seeds: int = 3, full: int = 3, trains: int = 1, head: str = "frozen"
) -> tuple[str, ...]:
    whole = f"  - {{method: full, train_seeds: {full}}}\n" if full else ""
    text = SMALL.format(full=whole, counts=counts, seeds=seeds, trains=trains, head=head)
    return claims(Sweep.parse(text).trials())


def test_seeds_heads_and_full_runs_are_counted() -> None:
    assert said() == (
        "low rests on 3 seeds a count and 1 head, and speaks of that one alone; high on 3 runs of full fine-tuning "
        "(1 count curve)",
    )
    assert said(trains=2)[0].startswith("low rests on 6 seeds a count and 2 heads; high on 3 runs")
    assert "3 seeds a count and 1 train seed; high on" in said(head="verbalizer")[0]


def test_what_will_stay_unresolved_is_said() -> None:
    assert "high stays unresolved with 2 runs of full fine-tuning: it takes 3" in said(full=2)[0]
    assert "high stays unresolved with 0 runs" in said(full=0)[0]
    assert said(seeds=1) == (
        "thresholds stay unresolved with 1 seed a count: give position_seeds 3 or more (1 count curve)",
    )
    assert said(counts="[4]") == ()


def test_the_built_in_sweeps_rest_on_three_full_runs() -> None:
    assert "high on 3 runs of full fine-tuning (2 count curves)" in claims(Sweep.load("quickstart").trials())[0]
    assert "6 seeds a count and 2 heads; high on 3" in claims(Sweep.load("count-small").trials())[0]
    assert "high on 3 runs of full fine-tuning (18 count curves)" in claims(Sweep.load("count").trials())[0]
    assert len(Sweep.load("quickstart").trials()) == 50
    assert "\nthresholds: low rests on 3 seeds a count and 1 head" in apet("plan", "quickstart").stdout
