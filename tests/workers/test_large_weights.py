"""A worker on weights that are converted first: the rows of the files themselves, under the id of the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from weights_for_tests import from_place, on_weights, write_weights
from worker_for_tests import SCORES, pack_of, rows_of, run

from trials.sources import copies
from trials.store.store import Store
from workers.backbone import convert
from workers.worker import Worker


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-t5"])
def test_rows_are_those_of_the_files(
    name: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APET_CACHE", str(tmp_path / "cache"))
    model = write_weights(name, tmp_path / "model")
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    one = on_weights(trial(name, count=300), model)
    seen = []
    for large in (2**40, 0):
        monkeypatch.setattr(convert, "LARGE", large)
        store = Store(tmp_path / f"store-{large}", create=True)
        [ended] = run(Worker(store), from_place(pack_of(folder, one), model))
        assert ended.state == "completed"
        assert copies.root().exists() == (large == 0)
        row = rows_of(store)[one.trial_id]
        seen.append({key: row[key] for key in (*SCORES, "weights_digest", "weights_source")})
    assert seen[0] == seen[1]
    state = torch.load(model / "pytorch_model.bin", weights_only=True)
    torch.save({key: value + 1e-3 for key, value in state.items()}, model / "pytorch_model.bin")
    store = Store(tmp_path / "store-changed", create=True)
    run(Worker(store), from_place(pack_of(folder, one), model))
    row = rows_of(store)[one.trial_id]
    assert (row["state"], row["failure_class"]) == ("failed", "bad_input")
    assert "its content is not what the trial was given" in row["error_message"]
