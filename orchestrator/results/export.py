"""A trained module leaves the store: as the store's own file, or as an adapter of Hugging Face PEFT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trials.errors import ApetError, choices

if TYPE_CHECKING:
    from trials.store.store import Store

FORMATS = ("safetensors", "peft")
MODULE = "module.safetensors"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        files: paths.
        notes: what whoever uses them should know, a sentence each.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...]


def export(trial: str, store: Store, form: str, out: str | Path) -> Exported:
    """Write the trained module of a trial, and a card that says what it is, into a new or empty folder.

    Args:
        trial: its id, or the beginning of it.
        store: where it is.
        form: ``safetensors``, the store's own file (docs/store.md), of every method; ``peft``, an adapter that
            ``PeftModel.from_pretrained`` loads, of ``lora`` and ``prompt``.
        out: the folder; it is made.

    Raises:
        ApetError: no such trial or several, a trial without a module, a damaged module, a format that doesn't hold
            its method, or a folder that isn't empty or can't be written.
    """
    out = Path(out)
    if form not in FORMATS:
        raise ApetError(f"format {form!r} is unknown; {choices(form, FORMATS)}")
    row = _row(store.resolve(trial), store)
    _check_folder(out)
    data = store.load_module(_module_uri(row))
    files, notes = _files(data, row, form)  # whole, before anything is written
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (out / name).write_bytes(content)
    except OSError as error:
        raise ApetError(f"--out {out}: can't be written: {error.strerror}; give another folder") from None
    return Exported(tuple(out / name for name in files), notes)


def _files(data: bytes, row: Mapping[str, Any], form: str) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The files by name, and notes."""
    from orchestrator.results import peft as peft_files
    from orchestrator.results.card import CARD, base_of, card
    from workers.modules.file import ModuleFile

    module = ModuleFile.from_bytes(data, row["module_uri"])
    files: dict[str, bytes]
    notes: tuple[str, ...]
    if module.trial.trial_id != row["trial_id"]:
        raise ApetError(
            f"{row['module_uri']} is the module of trial {module.trial.trial_id}, and the row's is {row['trial_id']}; "
            "copy the store's modules again, or run the trial again"
        )
    if form == "safetensors":
        files, notes = {MODULE: data}, ()
    else:
        files, notes = peft_files.files(module, base_of(module, row))
    return {**files, CARD: card(module, row, form, notes).encode()}, notes


def _row(trial_id: str, store: Store) -> dict[str, Any]:
    """The visible row of a trial."""
    import pyarrow.compute as pc

    visible = store.trials()
    (row,) = visible.filter(pc.equal(visible["trial_id"], trial_id)).to_pylist()
    return dict(row)


def _module_uri(row: Mapping[str, Any]) -> str:
    """Where the module of a row is.

    Raises:
        ApetError: there is none, and why.
    """
    if row["module_uri"] is not None:
        return str(row["module_uri"])
    why = {
        "full": "full fine-tuning trains the backbone itself, and the store doesn't keep it; export another method",
        "failed": f"its attempt failed ({row['error_class']}); `apet resubmit` makes a new one",
        "diverged": "it diverged before its first evaluation; try a smaller learning rate",
    }
    key = "full" if row["method"] == "full" else row["state"]
    raise ApetError(f"trial {row['trial_id']} has no module: {why.get(key, 'its row names none; run it again')}")


def _check_folder(out: Path) -> None:
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            what = "is not empty" if out.is_dir() else "is a file"
            raise ApetError(f"--out {out} {what}; export writes into a new or an empty folder")
    except OSError as error:
        raise ApetError(f"--out {out}: {error.strerror}; give another folder") from None
