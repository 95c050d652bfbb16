"""Packs of several ranks, recompute and offload: what is taken where one card, or one process, holds too little."""

from __future__ import annotations

from dataclasses import replace

from fits_for_tests import GIB, cards, full_xxl, how, trial

from orchestrator.planning.devices import Machine
from orchestrator.planning.fit import GPU_PROCESS_BYTES, PROCESS_BYTES, ZERO_BYTES, fit
from orchestrator.planning.groups import counted
from orchestrator.planning.memory import memory
from trials.backbones import get, loaded_parameters
from trials.sweep.resources import Resources

AUTO = Resources()
ALONE = Resources(pack_size=1)


def test_the_largest_backbone_takes_the_cards_that_it_takes() -> None:
    """Full fine-tuning of T5-XXL: 16 bytes a parameter are shared, 21 GiB of bf16 copies aren't."""
    found = {gib: fit([full_xxl()], [cards(8, gib)], AUTO) for gib in (24, 40, 80)}
    assert how(found[80])[:3] == (4, 3, False)
    assert (found[80].setup.ranks, found[80].fits, found[80].at_once) == (4, True, 2)
    parameters = loaded_parameters(get("t5-xxl"))
    assert 16 / 4 * parameters + 20 * GIB < found[80].needed < 72 * GIB
    assert how(found[40])[:3] == (1, 3, True), "all eight are too few without offload, with it one is enough"
    assert "GiB of each GPU" in found[24].lacking, "copies of 20.7 GiB don't go into 24"
    assert found[80].setup.reason.startswith("the fewest GPUs that hold it, ZeRO stage 3; ")
    assert found[80].refusal == ""
    lora = fit([trial("t5-xxl")], [cards(8, 80)], AUTO)
    assert lora.refusal == "", "of one backbone, one group is within reach and another isn't"


def test_what_would_hold_it_is_said_where_neither_more_cards_nor_larger_ones_do() -> None:
    """One small card in a small machine: larger ones need memory beside them, more of these don't hold it."""
    small = cards(1, 24, 128)
    _, *enough = fit([full_xxl()], [small], AUTO).lacking.split("; ")
    way = "it would be 2 GPUs at ZeRO stage 3 with recompute"
    assert enough == [f"on a machine with 2 GPUs of 140.4 GiB (h200-141), with 256.0 GiB of memory, {way}"]
    assert "; " not in fit([full_xxl()], [small], replace(AUTO, gpus=1)).lacking


def test_offload_takes_the_machines_memory() -> None:
    wanted = replace(AUTO, gpus=1)
    roomy, narrow = (fit([full_xxl()], [cards(1, 80, gib)], wanted) for gib in (1024, 128))
    assert how(roomy)[:3] == (1, 2, True), "the weights stay"
    of_each = 8 + 4 + 4 + 4 + 2  # moments, gradients, weights once more, the best step's, those to be given back
    assert roomy.setup.memory == GPU_PROCESS_BYTES + of_each * loaded_parameters(get("t5-xxl"))
    assert roomy.fits
    assert not roomy.lacking
    assert narrow.at_once == 0
    assert f"{roomy.setup.memory / GIB:.1f} GiB of the machine's memory, and there is node" in narrow.lacking
    assert "128.0 GiB of memory, 1 GPU of 80.0 GiB, of which 90% of memory may be used" in narrow.lacking


def test_what_is_too_large_says_what_would_hold_it() -> None:
    """T5-XXL's weights are beyond a card of 16 GiB and the memory of its machine: two of them, or a larger one."""
    poor = cards(1, 16, memory_gib=16)
    found = fit([trial("t5-xxl")], [poor], ALONE)
    assert found.at_once == 0
    more, larger = found.lacking.split("; ")[1:]
    assert more.startswith("on a machine with 2 such GPUs, with 32.0 GiB of memory, it would be 2 GPUs at ZeRO stage 3")
    assert larger.startswith("on GPUs of 32.0 GiB (v100-32), with 16.0 GiB of memory, it would be 1 GPU, ")
    for enough in (cards(2, 16, memory_gib=32), cards(1, 32, memory_gib=16)):
        assert fit([trial("t5-xxl")], [enough], ALONE).at_once
    assert "such GPUs" not in fit([trial("t5-xxl")], [poor], replace(ALONE, gpus=1)).lacking


def test_recompute_and_fewer_rows_come_before_a_second_card_and_a_second_card_before_offload() -> None:
    """Rows of 2048 tokens: on one card a single row keeps too much, its blocks' inputs don't."""
    long = trial("t5-xxl", max_input_length=2048)
    assert how(fit([long], [cards(8, 40)], ALONE))[:3] == (1, 0, False)
    assert fit([long], [cards(8, 40)], ALONE).setup.recompute
    without = fit([long], [cards(8, 40)], replace(ALONE, recompute=False)).setup
    assert (without.gpus > 1, without.zero_stage, without.offload) == (True, 3, False)


def test_ranks_on_a_cpu_take_a_thread_and_their_memory_each() -> None:
    machine, wanted = Machine(4, 64 * GIB), Resources(ranks=2, zero_stage=3, pack_size=1)
    found = fit([trial("bert-large", batch_size=8)], [machine], wanted)
    setup = found.setup
    assert (setup.device, setup.gpus, setup.ranks, setup.zero_stage, setup.threads) == ("cpu", 0, 2, 3, 1)
    assert (setup.measure_to, found.at_once) == (0, 2), "two packs of two ranks on four cores"
    loaded = loaded_parameters(get("bert-large"))
    one = trial("bert-large", batch_size=8)
    held = memory(one, loaded, counted(one.method, one.backbone, loaded), 1, 4, rows=4)
    assert setup.memory == found.needed == PROCESS_BYTES + ZERO_BYTES + held.in_process(2, 3)
    assert setup.reason.startswith("resources.ranks is 2, resources.zero_stage is 3; its part of the batch at a time")
    crowded = fit([trial("bert-large", batch_size=8)], [Machine(1, 64 * GIB)], wanted)
    assert crowded.refusal.startswith("2 ranks take 1 CPU and 1.8 GiB each, and there is a machine, 1 CPU, ")
    assert "1 CPU" in crowded.refusal


def test_weights_in_shards_fit_where_whole_ones_on_every_rank_do_not() -> None:
    wanted = Resources(gpus=0, ranks=4, pack_size=1)
    narrow, wide = (fit([trial("bloom-3b")], [Machine(4, gib * GIB)], wanted) for gib in (40, 200))
    assert (narrow.setup.zero_stage, wide.setup.zero_stage) == (3, 0)
    assert narrow.at_once == wide.at_once == 1


def test_gangs_are_not_measured() -> None:
    for wanted in (Resources(ranks=2), Resources(ranks=1, zero_stage=3)):
        found = fit([trial("tiny-bert")], [Machine(2, 64 * GIB)], wanted).setup
        assert (found.pack_size, found.measure_to) == (4, 0)
