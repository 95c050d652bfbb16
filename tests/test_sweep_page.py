"""docs/sweep-file.md: its defaults are the schema's, and it names every variable that the packages read."""

from __future__ import annotations

import re
from typing import Any

import pytest
from paths import ROOT

from trials.modules import methods
from trials.sweep import schema as sweep_schema
from trials.sweep.resources import Resources
from trials.sweep.sweep import Sweep

PAGE = (ROOT / "docs" / "sweep-file.md").read_text()
ROWS = re.findall(r"^\| (`.+?`) \| (.+?) \| .+ \|$", PAGE, re.MULTILINE)
OURS = {"APET_CLUSTER", "APET_NODE_TYPE", "APET_DEVICE"}  # a run's own words to its processes, and one of tests


def table() -> dict[str, str]:
    """Key → default; keys that share a line have one default each, or one for all."""
    found: dict[str, str] = {}
    for keys, values in ROWS:
        names = keys.split(", ")
        each = values.split(", ") if values.count(", ") == len(names) - 1 else [values] * len(names)
        found.update(zip(names, each, strict=True))
    return found


def default(key: str) -> str:
    return table()[f"`{key}`"].strip("`")


def written(value: Any) -> str:
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize(
    ("prefix", "model"),
    [
        ("training.", sweep_schema.Training),
        ("", sweep_schema.Task),
        ("", sweep_schema.METHOD_MODELS["prompt"]),
        ("", sweep_schema.METHOD_MODELS["lora"]),
        ("", sweep_schema.METHOD_MODELS["adapter"]),
        ("", sweep_schema.Apet),
        ("resources.", sweep_schema.Resources),
        ("", sweep_schema.Block),
        ("", sweep_schema.SweepFile),
    ],
)
def test_every_key_with_a_default_is_there(prefix: str, model: Any) -> None:
    required = {"backbones", "tasks", "methods", "learning_rates", "training", "blocks", "resources", "data_dir"}
    for name, field in model.model_fields.items():
        if field.is_required() or name in required:
            continue
        said = default(prefix + name)
        if field.default is not sweep_schema.UNSET or model in (sweep_schema.Task, sweep_schema.Training):
            assert said == ("required" if name == "steps" else written(field.default)), name


def test_defaults_that_the_schema_leaves_open_are_what_trials_get() -> None:
    (trial,) = Sweep.parse(
        "backbones: [tiny-bert]\ntasks: [rte]\nmethods: [{method: apet, counts: [9]}]\n"
        "learning_rates: [0.001]\ntraining: {steps: 1}\n"
    ).trials()
    assert default("operations") == "{add: 1, concat: 1, plug: 1}"
    assert trial.method.operations == {"add": 1, "concat": 1, "plug": 1}
    assert (default("placement"), default("train_seeds")) == (trial.method.placement, f"[{trial.train_seed}]")
    assert str(methods.apet("bert", 9, {"concat": 1}, {"concat": ["soft_tokens"]}).tokens) == default("tokens")
    assert {f"resources.{name}" for name in vars(Resources())} <= {key.strip("`") for key in table()}


def test_every_variable_is_there() -> None:
    sources = [path for folder in ("trials", "workers", "orchestrator") for path in (ROOT / folder).rglob("*.py")]
    read = {name for path in sources for name in re.findall(r"APET_[A-Z_]*[A-Z]", path.read_text())} - OURS
    assert read == {name.strip("`") for name, _ in re.findall(r"^\| (`APET_\w+`) \| (.+) \|$", PAGE, re.MULTILINE)}
