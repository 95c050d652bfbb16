"""A sweep: a short YAML file that stands for many trials. DESIGN.md, section 4, shows every key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from trials.errors import ApetError, choices
from trials.pack import Sources
from trials.sweep import paths
from trials.sweep import yaml as sweep_yaml
from trials.sweep.check import Findings, structure
from trials.sweep.enumeration import Enumerated, enumerate_trials
from trials.sweep.resources import Resources
from trials.sweep.schema import LONGEST_NAME, SweepFile
from trials.sweep.setting import check_reaches, setting
from trials.trial import Source, Trial


@dataclass(frozen=True)
class Sweep:
    """A valid sweep and its trials.

    Args:
        name: from the file, else its stem.
        text: YAML as written; with ``--set``, as changed.
        where: the file's name in messages.
        folder: that relative paths start from.
        resources: what it may use.
        settings: of ``--set``, as given.
    """

    name: str
    text: str
    where: str
    folder: Path
    resources: Resources
    _found: Enumerated = field(repr=False)
    settings: tuple[str, ...] = ()

    @staticmethod
    def load(source: str | Path) -> Sweep:
        """Read a sweep file, by its path or a URI that pyarrow knows, or a built-in sweep by its name.

        Raises:
            ApetError: no such file and no such built-in sweep, or it can't be read.
            Problems: everything that is wrong in it, with file, line and key.
        """
        if isinstance(source, str) and source in builtin_names():
            return Sweep.parse(builtin_text(source), where=f"{source}.yaml", folder=Path.cwd())
        try:
            text, where, folder = _read(str(source))
        except FileNotFoundError:
            raise ApetError(
                f"sweep {source}: no such file, and no built-in sweep of this name; "
                f"{choices(source, builtin_names())}; `apet sweeps NAME` prints one to copy"
            ) from None
        except OSError as error:
            raise ApetError(f"sweep {source}: {error.strerror or error}; give a YAML file") from None
        except UnicodeDecodeError as error:
            raise ApetError(
                f"sweep {source}: not UTF-8 text (byte {error.start}); give a YAML file saved as UTF-8"
            ) from None
        return Sweep.parse(text, where, folder)

    @staticmethod
    def parse(text: str, where: str = "sweep.yaml", folder: Path | None = None) -> Sweep:
        """A sweep from its text.

        Args:
            text: YAML 1.2.
            where: names the text in messages; its stem is the sweep's default name.
            folder: that relative paths start from; the current one by default.

        Raises:
            Problems: everything that is wrong in it.
        """
        return _build(sweep_yaml.read(text, where), folder or Path.cwd())

    def trials(self) -> tuple[Trial, ...]:
        """Every trial once, in the order of the file."""
        return self._found.trials

    @property
    def duplicates(self) -> int:
        """How many trials came out more than once (of two blocks, say) and were dropped."""
        return self._found.duplicates

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """(trial, why) of what ``over_capacity: skip`` left out."""
        return self._found.skipped

    def sources(self, trial: Trial) -> Sources:
        """Where the weights and data of one of its trials were found.

        Raises:
            ApetError: the trial is not of this sweep.
        """
        try:
            return Sources(
                weights=self._found.weights[trial.backbone],
                data=self._found.data[trial.task],
                targets={task.name: self._found.data[task] for task in trial.evaluate_on},
            )
        except KeyError:
            raise ApetError(
                f"trial {trial.trial_id} is not of sweep {self.name}; `apet plan` lists its trials"
            ) from None

    def place_of(self, content: Source) -> str | None:
        """Where the sweep found weights or data of some content, whatever it names them; None: it has none of it."""
        places = [(ref.weights, place) for ref, place in self._found.weights.items()]
        places += [(ref.data, place) for ref, place in self._found.data.items()]
        return next((place for source, place in places if source == content), None)

    def standalone(self) -> str:
        """The text so that it means the same wherever it lies on this machine: its name and whole paths stand in it."""
        return paths.standalone(sweep_yaml.read(self.text, self.where), self.folder, self.name)

    def with_(self, settings: Sequence[str]) -> Sweep:
        """The sweep with some values replaced, validated like the file.

        Args:
            settings: ``KEY=VALUE``, KEY a dotted path (``training.steps``, ``methods.0.rank``), VALUE as YAML.

        Raises:
            ApetError: a setting that is no KEY=VALUE, or leads nowhere.
            Problems: the changed sweep is not valid.
        """
        if not settings:
            return self
        changes = dict(setting(one) for one in settings)
        text = sweep_yaml.edited(self.text, changes)
        original = sweep_yaml.read(self.text, self.where)
        document = sweep_yaml.read(text, self.where)
        document.values = {path: original.values.get(path, place) for path, place in document.values.items()}
        document.keys = {path: original.keys.get(path, place) for path, place in document.keys.items()}
        document.order |= original.order
        for path in changes:
            for places in (document.values, document.keys):
                places.update({p: f"--set {sweep_yaml.dotted(path)}" for p in places if p[: len(path)] == path})
        check_reaches(document, changes)
        return replace(_build(document, self.folder), settings=(*self.settings, *settings))


def _read(source: str) -> tuple[str, str, Path]:
    """A file's text, its name for messages, and the folder that its relative paths start from.

    Raises:
        FileNotFoundError: there is none.
        OSError: it can't be read.
        ApetError: of a URI, the same.
    """
    if "://" not in source:
        path = Path(source)
        return path.read_text(encoding="utf-8"), source, path.resolve().parent
    from trials.store.files import Files

    where, mark, options = source.partition("?")
    folder, _, name = where.rpartition("/")
    files = Files(f"{folder}{mark}{options}")
    return files.read(name).decode(), where, Path(files.root) if files.is_local else Path.cwd()


def builtin_names() -> tuple[str, ...]:
    """The built-in sweeps."""
    found = (file.name for file in files("trials").joinpath("sweep", "builtin").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))


def builtin_text(name: str) -> str:
    """The YAML of a built-in sweep, to copy and edit.

    Raises:
        ApetError: no such sweep.
    """
    if name not in builtin_names():
        raise ApetError(f"sweep {name!r} is not built in; {choices(name, builtin_names())}")
    return files("trials").joinpath("sweep", "builtin", f"{name}.yaml").read_text(encoding="utf-8")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a sweep file, for editors."""
    schema = SweepFile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_without_null_defaults(schema)}


def _build(document: sweep_yaml.Document, folder: Path) -> Sweep:
    report = Findings(document)
    file = structure(report)
    if file is None:
        report.raise_any()
        raise AssertionError("a document without structure has problems")
    found = enumerate_trials(report, file, folder)
    name = file.name or _stem(document.where)
    return Sweep(name, document.text, document.where, folder, Resources.in_(file), found)


def _stem(where: str) -> str:
    """A name from a file's: letters, digits, dots, dashes and underscores, cut to the longest name."""
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in Path(where).stem)
    return stem.lstrip("._-").rstrip(".-")[:LONGEST_NAME] or "sweep"


def _without_null_defaults(value: Any) -> Any:
    """pydantic writes ``default: null`` for keys that may be left out, where null is no valid value."""
    if isinstance(value, dict):
        return {k: _without_null_defaults(v) for k, v in value.items() if not (k == "default" and v is None)}
    return [_without_null_defaults(item) for item in value] if isinstance(value, list) else value
