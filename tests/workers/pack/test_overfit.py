"""Every task on every family that takes it: eight real rows are learnt by heart, then real test rows are scored.

Slow, and on data that isn't in the clone: skipped where ``APET_DATA`` doesn't point at some.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from encodings_for_tests import PAIRS, tokenizer
from worker_for_tests import given

from trials import backbones, tasks
from trials.pack import Member, Pack, Sources
from trials.store.store import Store
from trials.tasks.spec import Task
from trials.trial import Source, TaskRef, Training
from workers.rows.texts import target_tokens
from workers.worker import Worker

REAL = os.environ.get("APET_DATA", "")
ROWS = 8
STEPS = {"bert": 100, "bloom": 200, "t5": 200}
TEXT_STEPS = 200  # until a small random model knows eight texts by heart
RATE = 3e-3


def real_rows(task: Task, split: str) -> list[dict[str, Any]]:
    with gzip.open(Path(REAL) / task.name / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def cut(task: Task, backbone: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row whose target is no longer than what may be generated."""
    if task.labels or not isinstance(row[task.answer_column], str):
        return row
    own, family = tokenizer(backbone), backbones.get(backbone).family
    (ids,), _ = target_tokens([row[task.answer_column]], family, own, task.max_generated_length)
    return {**row, task.answer_column: own.decode(ids, skip_special_tokens=True)}


def ours(record: logging.LogRecord) -> bool:
    """A warning that one of our three packages has logged."""
    return record.levelno >= logging.WARNING and record.name.partition(".")[0] in ("trials", "workers", "orchestrator")


@pytest.mark.slow
@pytest.mark.parametrize(("task_name", "backbone"), PAIRS)
def test_eight_real_rows_are_learnt_by_heart(
    task_name: str, backbone: str, tmp_path: Path, trial: Any, caplog: pytest.LogCaptureFixture
) -> None:
    if not REAL or not (Path(REAL) / task_name).is_dir():
        pytest.skip(f"APET_DATA has no {task_name}")
    task = tasks.get(task_name)
    found = real_rows(task, "train")
    few = [cut(task, backbone, found[i * len(found) // ROWS]) for i in range(ROWS)]
    answers = [json.dumps(row[task.answer_column]) for row in few]
    assert max(map(answers.count, answers)) <= 0.9 * ROWS, "a constant answer would pass"
    for split, rows in (("train", few), ("validation", few), ("test", real_rows(task, "validation"))):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    steps = STEPS[backbones.get(backbone).family] if task.labels else TEXT_STEPS
    training = Training(steps, ROWS, steps // 4, None, "auto", task.max_input_length, task.max_generated_length)
    fields = {"task": TaskRef(task_name, Source("folder", "x", "0"), test_rows=64), "learning_rate": RATE}
    one = given(trial(backbone, method="full", trial={**fields, "training": training}), tmp_path)
    store = Store(tmp_path / "store", create=True)
    pack = Pack("pack", (Member(one, 0),), Sources(f"random:{backbone}", f"folder:{tmp_path}"), sweep="test")
    list(Worker(store).run(pack))
    (row,) = store.trials().to_pylist()
    assert row["state"] == "completed", row["error_message"]
    assert row["test_score"] is not None
    print(
        f"\n{task_name} {backbone} {row['metric']}: step {row['best_step']}, eight rows {row['validation_score']:.3f}, "
        f"test {row['test_score']:.3f} {dict(row['metrics'])}, {row['wall_s']:.0f} s"
    )
    assert row["validation_score"] > 0.9
    assert (row["metric"], {name for name, _ in row["metrics"]}) == (task.metric, set(task.secondary))
    assert row["test_rows"] == min(64, len(real_rows(task, "validation")))
    assert [record for record in caplog.records if ours(record)] == []  # `warnings` of ours are errors everywhere
