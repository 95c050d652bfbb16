"""Floating-point operations of a trial, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.planning.work import flops
from trials.backbones import get
from trials.modules.methods import named
from trials.sweep.acting import evaluations
from trials.trial import Source, TaskRef, Training, Trial

PASSES = 10 * 32 * 2 + 2000  # rows forward and back in 10 steps of 32; 1 000 rows scored twice (validation, test)


def trial(backbone: str, method: str = "lora", task: str = "rte", **training: Any) -> Trial:
    ref = TaskRef(task, Source("hub", "nyu-mll/glue", "main"))
    return Trial(get(backbone), ref, named(method), 1e-3, Training(**{"steps": 10, **training}))


def test_bloom_computes_its_head_where_it_predicts_a_target() -> None:
    """24 blocks, 1024 wide, feed-forward of 4096, 250 880 words; a row of RTE has 82 tokens, 2 of them the answer's."""
    block = 4 * 1024**2 + 2 * 1024 * 4096
    row = 2 * (24 * block * 82 + 250_880 * 1024 * 2)
    assert flops(trial("bloom-560m")) == row * PASSES
    assert flops(trial("bloom-560m", "full")) == row * (10 * 32 * 3 + 2000)
    assert flops(trial("bloom-560m", "prompt")) == (row + 2 * 24 * block * 100) * PASSES


def test_tokens_of_t5_go_through_their_own_stack() -> None:
    """12 and 12 blocks, 768 wide, feed-forward of 2048 with two inputs, 32 128 words; 80 tokens and 2 of target."""
    square, feed_forward = 768**2, 3 * 768 * 2048
    encoder = 12 * (4 * square + feed_forward)
    memory = 12 * 2 * square  # keys and values of cross-attention
    decoder = 12 * (4 * square + 2 * square + feed_forward)
    row = 2 * ((encoder + memory) * 80 + (decoder + 32_128 * 768) * 2)
    assert flops(trial("t5-base")) == row * PASSES
    both = 2 * 82 * (encoder + memory + decoder + 32_128 * 768)
    assert both / row == pytest.approx(2.24, abs=0.01), "what it was: every token through both stacks, and the head"
    long = trial("t5-base", task="samsum")
    assert flops(long) == 2 * ((encoder + memory) * 127 + (decoder + 32_128 * 768) * 26) * PASSES


def test_bert_computes_its_head_at_the_mask() -> None:
    blocks = 12 * (4 * 768**2 + 2 * 768 * 3072)
    assert flops(trial("bert-base")) == 2 * (blocks * 82 + 768**2 + 30_522 * 768) * PASSES
    assert flops(trial("quickstart-l6")) == 2 * 6 * (4 * 384**2 + 2 * 384 * 1536) * 82 * PASSES


def test_every_task_that_is_scored_counts() -> None:
    one = trial("quickstart-l6")
    target = replace(one.task, name="sst2", test_rows=300)
    row = 2 * 6 * (4 * 384**2 + 2 * 384 * 1536) * 29
    assert flops(replace(one, evaluate_on=(target,))) - flops(one) == row * 300


def test_validation_is_scored_at_every_evaluation_and_always_at_the_end() -> None:
    assert [evaluations(*each) for each in ((10, None), (10, 5), (10, 4), (0, 5))] == [1, 2, 3, 1]
