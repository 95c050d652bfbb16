"""Large files of torch's are converted once, whole, by one process, and nothing but tensors is read of them."""

from __future__ import annotations

import shutil
import weakref
from collections import namedtuple
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from bins_for_tests import bins_of, ref_of, write_bin
from safetensors.torch import load_file

from trials.errors import ApetError
from trials.sources import copies
from trials.sources.locations import find_weights, verify
from workers.backbone import convert, files
from workers.backbone.convert import converted
from workers.backbone.load import digest
from workers.backbone.pretrained import from_folder
from workers.backbone.source import each

BF16 = torch.bfloat16
READ = torch.load


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, shards of 100 KB, parts of 10,000 scalars, and a file is mapped anew after 100 KB."""
    monkeypatch.setenv("APET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(convert, "SHARD", 100_000)
    monkeypatch.setattr(files, "PART", 10_000)
    monkeypatch.setattr(files, "WINDOW", 100_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bin(tmp_path / "model")


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for path in bins_of(folder) for name, value in READ(path, weights_only=True).items()}


def read_back(shards: tuple[Path, ...]) -> dict[str, torch.Tensor]:
    return {name: value for path in shards for name, value in load_file(path).items()}


@pytest.mark.parametrize("bins", [1, 3])
@pytest.mark.parametrize("dtype", [BF16, torch.float32])
def test_a_copy_has_the_rounded_bits_of_the_files(bins: int, dtype: torch.dtype, tmp_path: Path) -> None:
    model = write_bin(tmp_path / "model", bins=bins)
    state = state_of(model)
    shards = converted(bins_of(model), dtype, "made-up")
    found = read_back(shards)
    assert len(shards) > 5
    assert all(path.stat().st_size < 530_000 for path in shards)  # the largest tensor has 512 KiB in float32
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value.to(dtype)) for name, value in state.items())


@pytest.mark.parametrize("dtype", [BF16, torch.float32])
def test_a_model_of_the_copy_is_the_one_of_the_file(dtype: torch.dtype, folder: Path) -> None:
    ref = ref_of("small")
    plain = from_folder(ref, folder, dtype).on("cpu", dtype)
    assert not (copies.root()).exists()
    copied = from_folder(ref, folder, dtype, large=0).on("cpu", dtype)
    assert copies.every()[0].whole
    assert digest(copied.model) == digest(plain.model)
    for key, value in state_of(folder).items():
        assert torch.equal(copied.model.get_parameter(key), value.to(dtype)), key


def test_a_copy_is_of_the_content_and_the_trial_of_the_files(folder: Path, tmp_path: Path) -> None:
    """A moved folder has the same copy, another content another one; what verifies looks at the files alone."""
    ref, location = find_weights("made-up", folder, family="t5")
    shards = converted(bins_of(folder), BF16, "made-up")
    verify(ref.weights, location)
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    assert converted(bins_of(moved), BF16, "made-up") == shards
    assert find_weights("made-up", moved, family="t5")[0] == ref
    state = state_of(folder)
    state["shared.weight"][0, 0] += 1
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(ApetError, match="its content is not what the trial was given"):
        verify(ref.weights, location)
    other = converted(bins_of(folder), BF16, "made-up")
    assert other[0].parent != shards[0].parent
    assert torch.equal(read_back(other)["shared.weight"], state["shared.weight"].to(BF16))


def test_what_is_whole_stays_and_the_rest_is_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that ends in the middle of a shard goes on there, and gives what an undisturbed one does."""
    expected = [path.read_bytes() for path in converted(bins_of(folder), BF16, "made-up")]
    shutil.rmtree(copies.root())
    real, asked = files.Bins.parts, []

    def parts(self: files.Bins, name: str, start: int, stop: int) -> Iterator[torch.Tensor]:
        asked.append(name)
        if len(asked) == 20:
            raise KeyboardInterrupt
        return real(self, name, start, stop)

    monkeypatch.setattr(files.Bins, "parts", parts)
    with pytest.raises(KeyboardInterrupt):
        converted(bins_of(folder), BF16, "made-up")
    [copy] = copies.every()
    there = sorted(copy.folder.glob("*.safetensors"))
    assert 0 < len(there) < len(expected)
    assert not copy.whole
    (copy.folder / ".model-00004.1234").write_bytes(b"of a process that was killed")
    before = {path: path.stat().st_mtime_ns for path in there}
    shards = converted(bins_of(folder), BF16, "made-up")
    assert [path.read_bytes() for path in shards] == expected
    assert {path: path.stat().st_mtime_ns for path in there} == before
    assert not [path for path in copy.folder.iterdir() if path.name.startswith(".")]
    assert copies.every()[0].whole


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_shard_that_is_not_what_was_written_is_made_again(damage: str, folder: Path) -> None:
    shards = converted(bins_of(folder), BF16, "made-up")
    content = [path.read_bytes() for path in shards]
    if damage == "gone":
        shards[1].unlink()
    else:
        shards[1].write_bytes(content[1][:-2] + (b"" if damage == "cut" else b"\x00\x00"))
    assert convert.whole(shards[0].parent) is None
    assert [path.read_bytes() for path in converted(bins_of(folder), BF16, "made-up")] == content


def test_a_file_that_changes_meanwhile_gives_no_copy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = convert._convert

    def change(*args: Any) -> Any:
        shards = real(*args)
        torch.save({**state_of(folder), "new": torch.zeros(1)}, folder / "pytorch_model.bin")
        return shards

    monkeypatch.setattr(convert, "_convert", change)
    with pytest.raises(ApetError, match=r"pytorch_model\.bin: it changed while it was converted"):
        converted(bins_of(folder), BF16, "made-up")
    assert not list(copies.root().rglob("*.safetensors"))


def test_a_copy_that_is_there_is_used_as_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = converted(bins_of(folder), BF16, "made-up")
    monkeypatch.setattr(convert, "Bins", lambda *_: pytest.fail("read again"))
    assert converted(bins_of(folder), BF16, "made-up") == shards


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 900_000))
    with pytest.raises(ApetError, match=r"made-up in bf16 needs 9\d{2},\d{3} bytes there and 900,000 are free"):
        converted(bins_of(folder), BF16, "made-up")
    assert not list(copies.root().rglob("*.safetensors*"))


def test_a_cache_that_cannot_be_written_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("APET_CACHE", str(tmp_path / "file"))
    with pytest.raises(ApetError, match=r"made-up is converted there, so it must be writable.*APET_CACHE"):
        converted(bins_of(folder), BF16, "made-up")


class Runs:
    """What a pickle may do when it is opened."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


def test_anything_but_tensors_is_refused_and_nothing_is_run(folder: Path, tmp_path: Path) -> None:
    path, state = folder / "pytorch_model.bin", state_of(folder)
    for content, says in (
        (
            {**state, "x": Runs(tmp_path / "ran")},
            r"not a file of tensors alone \(it holds getattr, of which nothing was run",
        ),
        ({"model": state}, "it holds more than tensors by name"),
        ({**state, "shared.weight": state["shared.weight"].to_sparse()}, "it holds more than tensors by name"),
        ({**state, "x": torch.zeros(2, dtype=torch.complex64)}, "x is torch.complex64, which is not read"),
    ):
        torch.save(content, path)
        with pytest.raises(ApetError, match=says) as error:
            converted([path], BF16, "made-up")
        assert "weights_only" not in str(error.value), "torch's advice to run it is no next step"
    assert not (tmp_path / "ran").exists()
    assert not list(copies.root().rglob("*.safetensors*"))


def test_wrong_tensors_are_named_before_anything_is_converted(folder: Path) -> None:
    state = state_of(folder)
    del state["lm_head.weight"]
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(ApetError, match=r"lm_head\.weight .* is missing"):
        from_folder(ref_of("small"), folder, BF16, large=0)
    assert not list(copies.root().rglob("*.safetensors*"))


def test_numbers_that_are_not_finite_are_named_with_the_user_s_file(folder: Path) -> None:
    state = state_of(folder)
    state["lm_head.weight"][7, 3] = float("nan")
    torch.save(state, folder / "pytorch_model.bin")
    opened = from_folder(ref_of("small"), folder, BF16, large=0)
    with pytest.raises(ApetError, match=r"model/pytorch_model\.bin: lm_head\.weight holds numbers that are not finite"):
        opened.on("cpu", BF16)


def test_a_file_of_an_old_torch_is_converted_too(folder: Path) -> None:
    state = state_of(folder)
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    found = read_back(converted(bins_of(folder), BF16, "made-up"))
    assert all(torch.equal(found[name], value.to(BF16)) for name, value in state.items())


def test_views_and_whole_numbers_are_kept(folder: Path) -> None:
    state = state_of(folder)
    state |= {"turned": state["lm_head.weight"].T, "copy": state["shared.weight"], "ids": torch.arange(5)}
    state |= {"one": torch.tensor(3.0), "none": torch.zeros(0, 4), "trained": torch.nn.Parameter(torch.ones(3))}
    torch.save(state, folder / "pytorch_model.bin")
    found = read_back(converted(bins_of(folder), BF16, "made-up"))
    assert torch.equal(found["turned"], state["turned"].to(BF16))
    assert torch.equal(found["copy"], state["shared.weight"].to(BF16))
    assert torch.equal(found["ids"], state["ids"])
    assert found["one"] == 3
    assert found["none"].shape == (0, 4)
    assert found["trained"].tolist() == [1, 1, 1]


def test_what_was_read_of_a_mapped_file_is_let_go_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is mapped anew after every 100 KB, and what was mapped before is held by nobody."""
    real, mapped = torch.load, []

    def load(*args: Any, **options: Any) -> Any:
        assert options["mmap"]
        assert not any(one() for one in mapped)
        state = real(*args, **options)
        mapped.extend(weakref.ref(value) for value in state.values())
        return state

    monkeypatch.setattr(torch, "load", load)
    size = sum(value.nbytes for value in state_of(folder).values())
    converted(bins_of(folder), BF16, "made-up")
    assert len(mapped) / len(state_of(folder)) > size / 150_000


def test_one_converts_and_the_others_use_what_it_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks keep threads apart as they do processes: each opens the lock file anew."""
    opened = []

    def bins(paths: list[Path]) -> files.Bins:
        opened.append(paths)
        return files.Bins(paths)

    monkeypatch.setattr(convert, "Bins", bins)
    with ThreadPoolExecutor(8) as pool:
        shards = list(pool.map(lambda _: converted(bins_of(folder), BF16, "made-up"), range(8)))
    assert len(set(shards)) == len(opened) == 1


def test_any_part_of_a_tensor_can_be_read(folder: Path) -> None:
    """What a rank that holds a shard reads."""
    for large in (0, 2**40):
        source = from_folder(ref_of("small"), folder, BF16, large=large).tensors
        whole = dict(each(source, torch.float32 if large else BF16))
        for start, stop in ((0, 1), (9_999, 10_001), (12_345, 67_891)):
            out = torch.full((stop - start,), -1.0, dtype=whole["lm_head.weight"].dtype)
            source.fill(out, "lm_head.weight", start)
            assert torch.equal(out, whole["lm_head.weight"].view(-1)[start:stop])


def test_loading_reads_no_more_than_a_part_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor is in memory twice: what isn't in its place is one part."""
    seen = []
    real = files.Safetensors.parts

    def parts(self: files.Safetensors, name: str, start: int, stop: int) -> Iterator[torch.Tensor]:
        for part in real(self, name, start, stop):
            seen.append(part.untyped_storage().nbytes())
            yield part

    monkeypatch.setattr(files.Safetensors, "parts", parts)
    from_folder(ref_of("small"), folder, BF16, large=0).on("cpu", BF16)
    assert max(seen) == 2 * 10_000
