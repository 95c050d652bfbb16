"""``python -m workers.run``: a pack in a file, no ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from worker_for_tests import pack_of, rows_of

from trials.store.store import Store


def test_workers_run_trains_a_pack_with_no_ray(
    folder: Path, tmp_path: Path, trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from workers.run import main

    one = trial("tiny-t5", count=300)
    file = tmp_path / "pack.json"
    file.write_text(pack_of(folder, one).to_json())
    assert main([str(file), "--store", str(tmp_path / "store"), "--threads", "1"]) == 0
    assert f"{one.trial_id} completed" in capsys.readouterr().out
    assert rows_of(Store(tmp_path / "store"))[one.trial_id]["state"] == "completed"
    assert main([str(tmp_path / "none.json"), "--store", str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()
    assert torch.get_num_threads() == 1


def test_a_worker_that_cannot_go_on_says_so_and_exits_3(
    folder: Path, tmp_path: Path, trial: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.modules.model import PackModel
    from workers.run import main

    def sick(self: PackModel, batch: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(PackModel, "forward", sick)
    file = tmp_path / "pack.json"
    file.write_text(pack_of(folder, trial("tiny-t5")).to_json())
    assert main([str(file), "--store", str(tmp_path / "store")]) == 3
    said = capsys.readouterr().err
    assert "error: RuntimeError: CUDA error: an illegal memory access was encountered" in said
    assert "go on from their checkpoints" in said
    assert not Store(tmp_path / "store").visible()
    assert main([str(file), "--store", str(tmp_path / "store"), "--engine", "deepsped"]) == 2
