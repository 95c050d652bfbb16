"""``benchmarks/gpu.py``: its arithmetic by hand, and all of its parts in the tiny form. To measure takes a GPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from gpu import laps
from gpu.bench import Bench
from gpu.flops import Weights, executed, weights
from gpu.goals import goals
from gpu.packs import gain
from gpu.parts import PARTS, Part, chosen, perform
from gpu.report import Report
from gpu.steps import compared, share
from gpu.subjects import TARGETS, batch
from paths import ROOT

from trials import backbones

FIGURES = ("share_of_peak", "ours_to_peft", "memory_ratio", "next_pack_s", "pack_gain_8")
SCRIPT = ROOT / "benchmarks" / "gpu.py"
WITHOUT_RAY = "import runpy, sys; sys.modules['ray'] = None; script = sys.argv[1]; sys.argv = sys.argv[1:]; " + (
    "sys.path[0] = script.rpartition('/')[0]; runpy.run_path(script, run_name='__main__')"
)


def test_weights_by_hand() -> None:
    def of(name: str, lowest: int = 0) -> Weights:
        ref = backbones.get(name)
        return weights(ref.family, ref.shape, lowest)

    square = 4096 * 4096
    # 24 blocks of q, k, v, o and three of the feed-forward; of the decoder only the keys and values of the text
    assert of("t5-xxl").text == 24 * (4 * square + 3 * 4096 * 10240) + 24 * 2 * square
    assert of("t5-xxl").targets == 24 * (6 * square + 3 * 4096 * 10240)
    assert of("t5-xxl").head == 32128 * 4096
    assert of("t5-xxl", lowest=24).text == 24 * 2 * square, "the decoder alone"
    assert of("bloom-7b1") == Weights(30 * 12 * square, 0, 250880 * 4096)
    assert of("bloom-7b1", lowest=10).text == 20 * 12 * square
    assert of("bert-base") == Weights(12 * 12 * 768 * 768, 0, 30522 * 768 + 768 * 768)


def test_operations_by_hand() -> None:
    bloom = backbones.get("bloom-7b1").shape
    blocks, head = 30 * 12 * 4096 * 4096, 250880 * 4096
    assert executed("bloom", bloom, 32, 256, 2) == 4 * 32 * (256 * blocks + 2 * head)
    assert executed("bloom", bloom, 32, 256, 2, lowest=15) == 32 * (3 * 256 * blocks + 4 * 2 * head)
    assert executed("bloom", bloom, 32, 256, 0) / (0.6 * 795e12) == pytest.approx(0.415, abs=0.001), (
        "the issue's figure"
    )
    shape = backbones.get("t5-xxl").shape
    assert executed("t5", shape, 1, 0, 1) == 4 * (24 * (6 * 4096**2 + 3 * 4096 * 10240) + 32128 * 4096)


def test_shares_gains_and_ratios_by_hand() -> None:
    took = [{"forward": 0.1, "backward": 0.3, "update": 9.0, "step": 9.4}] * 3
    assert share(took, 200e12, 1000e12) == 0.5
    assert gain(10.0, 40.0, 8) == 2.0
    times = {"x": [{"step": s, "forward": s} for s in (1.0, 3.0, 2.0)], "peft": [{"step": s} for s in (2.0, 2.0, 4.0)]}
    found = compared({"x": [{**t, "backward": 0.0, "update": 0.0} for t in times["x"]], "peft": times["peft"]}, "x", 2)
    assert (found["step_ms"], found["peft_ms"], found["ours_to_peft"]) == (2000.0, 2000.0, 0.25)
    assert found["spread"] == pytest.approx(0.25)


def test_of_each_backbone_the_worst_is_held_against_the_goals() -> None:
    def line(backbone: str = "t5-xxl", **figures: Any) -> dict[str, Any]:
        return {"part": f"{backbone}.x", "measured": True, "backbone": backbone, **figures}

    lines = [
        line(length=256, method="lora", share_of_peak=0.61, ours_to_peft=1.04, spread=0.05, memory_ratio=0.95),
        line(length=256, method="adapter", share_of_peak=0.59, ours_to_peft=1.0, spread=0.0, memory_ratio=1.11),
        line(length=128, method="apet", share_of_peak=0.4, ours_to_peft=0.9, spread=0.0, memory_ratio=None),
        line(next_pack_s=0.9),
        line(pack_gain_8=1.1),
        line("bert-base", pack_gain_8=1.9, pack_gain_64=3.0),
        {"part": "y", "backbone": "t5-xxl", "predicted": True, "memory_ratio": 9.0},
    ]
    found = {(x["backbone"], key): (x[key], x["met"]) for x in goals(lines) for key in FIGURES if key in x}
    assert found == {
        ("t5-xxl", "share_of_peak"): (0.59, False),
        ("t5-xxl", "ours_to_peft"): (1.0, True),
        ("t5-xxl", "memory_ratio"): (1.11, False),
        ("t5-xxl", "next_pack_s"): (0.9, True),
        ("t5-xxl", "pack_gain_8"): (1.1, True),
        ("bert-base", "pack_gain_8"): (1.9, False),
    }


def test_laps_add_up_and_everybody_is_first_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laps, "perf_counter", count().__next__)  # a second a look at the clock
    took_turns: list[str] = []

    def step(name: str, marks: laps.Laps) -> None:
        took_turns.append(name)
        for lap in ("forward", "backward", "forward"):
            marks.mark(lap)

    took = laps.in_turns({name: lambda marks, name=name: step(name, marks) for name in "ab"}, "cpu", 2)
    assert "".join(took_turns) == "abba"
    assert took["a"] == took["b"] == [{"forward": 2, "backward": 1, "step": 3}] * 2


@pytest.mark.parametrize("family", ["bert", "bloom", "t5"])
def test_batches_are_padded_on_the_family_s_side(family: str) -> None:
    found = batch(family, 8, 12, "cpu")
    mask = found["attention_mask"]
    assert mask.sum(1).tolist() == [12, 11, 10, 9] * 2
    assert mask[1].tolist().index(0) == (0 if family == "bloom" else 11)
    if family != "bert":
        labels = found["labels"]
        assert found["target_at"].tolist() == labels.flatten().ne(-100).nonzero().flatten().tolist()
        assert len(found["target_at"]) == 8 * TARGETS


def test_a_backbone_s_name_stands_for_its_parts() -> None:
    assert [part.name for part in chosen(["peak", "bert-base", "t5-xxl.steps"])] == [
        "peak",
        "t5-xxl.steps",
        "bert-base.packs",
    ]
    with pytest.raises(ValueError, match="no such part: t5-xx; there are start, peak"):
        chosen(["t5-xx"])
    assert sum(part.seconds for part in PARTS[: [p.name for p in PARTS].index("bloom-7b1.packs")]) < 480


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A kind of part that gives a line, then fails."""

    def run(bench: Bench, backbone: str) -> Iterator[dict[str, Any]]:
        yield {"predicted": True, "planned_bytes": 7}
        yield {"backbone": backbone}
        raise OSError("the card fell off the bus")

    kind = ModuleType("gpu.breaking")
    kind.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gpu.breaking", kind)
    return iter(())


def performed(tmp_path: Path, *parts: Part, left: float, tiny: bool, capsys: Any) -> list[dict[str, Any]]:
    report = Report({"measured": True, "card": "a card"}, tmp_path / "out.jsonl")
    perform(parts, Bench("cpu", tiny, tmp_path), report, time.perf_counter() + left)
    report.last({})
    text = capsys.readouterr().out
    assert (tmp_path / "out.jsonl").read_text() == text
    *lines, last = [json.loads(line) for line in text.splitlines()]
    assert last["lines"] == lines
    assert last["failed"] == [line["part"] for line in lines if "error" in line]
    return lines


@pytest.mark.usefixtures("breaking")
def test_a_part_that_fails_is_a_line_and_the_others_go_on(tmp_path: Path, capsys: Any) -> None:
    lines = performed(tmp_path, Part("x.breaking", 1), Part("peak", 1), left=60, tiny=True, capsys=capsys)
    assert [(line["part"], "measured" in line) for line in lines] == [
        ("x.breaking", False),
        ("x.breaking", True),
        ("x.breaking", False),
        ("peak", True),
    ]
    assert lines[2]["error"] == "OSError: the card fell off the bus"
    assert lines[3]["tflop_s"] > 0


@pytest.mark.usefixtures("breaking")
def test_what_does_not_fit_any_more_is_left_out_and_says_so(tmp_path: Path, capsys: Any) -> None:
    lines = performed(tmp_path, Part("x.breaking", 90), Part("y.breaking", 5), left=30, tiny=False, capsys=capsys)
    assert lines[0] == {"part": "x.breaking", "card": "a card", "skipped": "it may take 90 s, and 30 are left"}
    assert [line["part"] for line in lines[1:]] == ["y.breaking"] * 3


def started(*words: str, **more: Any) -> subprocess.Popen[str]:
    """A tiny run where there is no Ray, no hub and no GPU."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", WITHOUT_RAY, str(SCRIPT), *words]
    return subprocess.Popen(command, cwd=ROOT, env={**env, **more}, text=True, stdout=subprocess.PIPE)


def test_all_parts_run_in_the_tiny_form_and_measure_nothing(tmp_path: Path) -> None:
    with started("--tiny", "--out", str(tmp_path / "lines.jsonl"), OMP_NUM_THREADS="1") as process:
        out, _ = process.communicate(timeout=300)
    *lines, last = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 0, [line for line in lines if "error" in line]
    assert {line["part"] for line in lines} == {part.name for part in PARTS}
    assert all(line["device"] == "cpu" and line["tiny"] for line in lines)
    assert not any("measured" in line or "card" in line for line in (*lines, last))
    assert last["lines"] == lines
    assert (tmp_path / "lines.jsonl").read_text() == out
    assert {*FIGURES[:-1], "load_gb_s", "pack_gain_2"} <= {key for line in lines for key in line}
    assert last["goals"] == []
    steps = [line for line in lines if line["part"] == "bloom-7b1.steps" and "share_of_peak" in line]
    assert [(line["method"], line["length"]) for line in steps] == [
        (method, length) for length in (40, 32) for method in ("apet", "lora", "adapter")
    ]
    assert all(line["share_of_peak"] > 0 and line["ours_to_peft"] > 0 and line["count"] > 0 for line in steps)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_run_that_is_stopped_still_says_all_that_it_has(number: signal.Signals) -> None:
    with started("--tiny", "--parts", "peak,t5-xxl") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(number)
        out, _ = process.communicate(timeout=120)
    last = json.loads(out.splitlines()[-1])
    assert process.returncode == 128 + number
    assert last["stopped"] == number.name
    assert last["lines"][0] == json.loads(first)


def test_without_a_gpu_nothing_is_measured() -> None:
    with started("--parts", "peak") as process:
        out, _ = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
