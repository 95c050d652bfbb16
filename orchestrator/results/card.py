"""The card beside an exported module, README.md: what it is, how to load it, how it scored, what it was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.text import as_text, method_name

if TYPE_CHECKING:
    from workers.modules.file import ModuleFile

CARD = "README.md"
_SCORES = ("validation_score", "test_score", "chance", "majority", "best_step", "steps_done", "train_loss")
_AUTO = {"bert": "AutoPeftModel", "bloom": "AutoPeftModelForCausalLM", "t5": "AutoPeftModelForSeq2SeqLM"}
_CLASSES = {"bloom": "BloomForCausalLM", "t5": "T5ForConditionalGeneration"}


def base_of(module: ModuleFile, row: Mapping[str, Any]) -> str | None:
    """What PEFT calls the base model: a hub id, or a folder as the trial's worker found it; None of other weights."""
    weights = module.trial.backbone.weights
    kind, _, folder = (row["weights_source"] or "").partition(":")
    if weights.kind == "folder":
        return folder if kind == "folder" else None
    return weights.name if weights.kind == "hub" else None


def model_class(module: ModuleFile) -> str:
    """The class of transformers that the base model is of."""
    backbone = module.trial.backbone
    return _CLASSES.get(backbone.family) or ("BertForMaskedLM" if backbone.shape.lm_head else "BertModel")


def card(module: ModuleFile, row: Mapping[str, Any], form: str, notes: Sequence[str]) -> str:
    """The card's text, Markdown with a header as the Hugging Face hub reads it.

    Args:
        module: what is exported.
        row: its trial's.
        form: ``peft`` or ``safetensors``.
        notes: what whoever uses it should know.
    """
    trial = module.trial
    name = f"{method_name(trial.method, trial.backbone.family)} on {trial.backbone.name}, {trial.task.name}"
    sweep = f" of sweep {_code(row['sweep'])}" if row["sweep"] else ""
    parts = [
        _header(module, form),
        f"# {name}",
        f"Trial `{trial.trial_id}`{sweep}, trained and exported by apet: {as_text(row['count_actual'])} parameters "
        "beside a frozen backbone.",
        "## How to load it",
        _loading(module, row, form),
        *(f"- {note}" for note in notes),
        "## How it scored",
        _table({"metric": row["metric"], **{key: row[key] for key in _SCORES}, **_dict(row["metrics"])}),
        "## What it was trained on",
        _table(_given(module, row)),
        "`spec`, which decides the result and whose hash is the trial's id:",
        f"```json\n{json.dumps(json.loads(trial.spec), indent=1, ensure_ascii=False)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _header(module: ModuleFile, form: str) -> str:
    lines = ["tags: [apet]"] + (["library_name: peft"] if form == "peft" else [])
    weights = module.trial.backbone.weights
    if weights.kind == "hub":  # a folder is no name on the hub
        lines.append(f"base_model: {json.dumps(weights.name)}")
    return "\n".join(["---", *lines, "---"])


def _loading(module: ModuleFile, row: Mapping[str, Any], form: str) -> str:
    base = base_of(module, row)
    if form != "peft":
        return _block(
            "from pathlib import Path",
            "from workers.backbone.load import load",
            "from workers.modules.file import ModuleFile",
            'module = ModuleFile.from_bytes(Path("module.safetensors").read_bytes())',
            f"backbone = load(module.trial.backbone, {_where(module, row)}{_apet_dtype(module)})",
            "modules = module.onto(backbone)  # backbone.model has it now",
        )
    if base is None:
        return _block(
            "from peft import PeftModel",
            "from trials.trial import Trial",
            "from workers.backbone.load import load",
            f"trial = Trial.from_spec({module.trial.spec!r})",
            f"backbone = load(trial.backbone, {_where(module, row)}{_apet_dtype(module)})",
            'model = PeftModel.from_pretrained(backbone.model, ".")  # this folder',
        )
    weights, family = module.trial.backbone.weights, module.trial.backbone.family
    dtype = ", dtype=torch.bfloat16" if module.precision == "bf16" else ""
    first = ["import torch"] if dtype else []
    revision = f", revision={weights.version!r}" if weights.kind == "hub" else ""
    by_hand = _block(
        *first,
        "from peft import PeftModel",
        f"from transformers import {model_class(module)}",
        f"base = {model_class(module)}.from_pretrained({base!r}{revision}{dtype})",
        'model = PeftModel.from_pretrained(base, ".")  # this folder',
    )
    if (family, module.trial.method.name) == ("bert", "prompt"):  # PEFT's classes for it make another head
        return by_hand
    auto = _AUTO[family]
    by_name = _block(*first, f"from peft import {auto}", f'model = {auto}.from_pretrained("."{dtype})  # this folder')
    return f"{by_name}\n\nor, with the base model somewhere else:\n\n{by_hand}"


def _where(module: ModuleFile, row: Mapping[str, Any]) -> str:
    """The location of the weights, as code."""
    from trials.sources.locations import location_of

    weights = module.trial.backbone.weights
    return repr(row["weights_source"] or ("folder:…" if weights.kind == "folder" else location_of(weights)))


def _apet_dtype(module: ModuleFile) -> str:
    return ', dtype=__import__("torch").bfloat16' if module.precision == "bf16" else ""


def _given(module: ModuleFile, row: Mapping[str, Any]) -> dict[str, Any]:
    """Weights, data and settings, by name."""
    weights, trial = module.trial.backbone.weights, module.trial
    size = "/".join(as_text(row[f"{split}_rows"]) for split in ("train", "validation", "test"))
    return {
        "weights": f"{weights.kind} {weights.name} {weights.version}",
        "weights found at": row["weights_source"],
        "digest of the weights as loaded": module.weights_digest,
        "precision": module.precision,
        "data": f"{trial.task.data.kind} {trial.task.data.name} {trial.task.data.version}",
        "data found at": row["data_source"],
        "digest of the data": row["data_digest"],
        "rows (train/validation/test)": size,
        "labels": trial.labels,
        "head": trial.head,
        "position seed": trial.position_seed,
        "train seed": trial.train_seed,
        "learning rate": f"{trial.learning_rate:g}",
        "batch size": trial.training.batch_size,
        "steps": trial.training.steps,
        "finished": row["finished_at"],
        **{f"version of {name}": version for name, version in _dict(row["versions"]).items()},
    }


def _dict(value: Any) -> dict[str, Any]:
    """A map column of a row."""
    return dict(value or {})


def _table(values: Mapping[str, Any]) -> str:
    """Two columns; what is null is left out."""
    lines = [f"| {key} | {_cell(value)} |" for key, value in values.items() if value is not None]
    return "\n".join(["| | |", "|---|---|", *lines])


def _cell(value: Any) -> str:
    text = _code(value) if isinstance(value, str) else as_text(value)
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    """Text in one line as it is, whatever Markdown would make of it."""
    line = " ".join(text.split())
    fence = "``" if "`" in line else "`"
    return f"{fence}{line}{fence}" if fence == "`" else f"{fence} {line} {fence}"


def _block(*lines: str) -> str:
    return "\n".join(["```python", *lines, "```"])
