"""What a trial *is*: one point of a sweep, frozen, hashable, rebuilt from its own text.

``Trial.spec`` is the canonical JSON of everything that decides the trial's result, and
``Trial.trial_id`` the first 20 hex digits of its sha256. Where weights and data were *found*
(a path, a hub address) is no part of it: see ``trials.pack.Sources``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from trials import keys
from trials.canonical import canonical, digest, plain, scalar
from trials.errors import ApetError, choices

SPEC_VERSION = 2
READABLE = (1, SPEC_VERSION)  # trials of an older version are shown and exported, and never run again
TEXT_VERSION = 1  # version of the prompt texts in trials/tasks; a change of wording changes ids

PLACEMENTS = ("discrete", "adjacent")
PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Source:
    """The identity of weights or data: what they are, never where they lie.

    kind ``hub``: ``name`` is the hub id, ``version`` the pinned revision.
    kind ``package``: ``name`` and ``version`` of a Python package.
    kind ``folder``: ``version`` is the sha256 over the names, sizes and hashes of the files used.
    kind ``random``: seeded random weights; ``name`` of the recipe, ``version`` its version and seed.
    """

    kind: str
    name: str
    version: str


@dataclass(frozen=True)
class Shape:
    """The numbers of a backbone that sites and counts are computed from.

    Args:
        blocks: transformer blocks (T5: of the encoder).
        decoder_blocks: blocks of T5's decoder, 0 elsewhere.
        d_model: width of the residual stream.
        d_ff: width of the feed-forward.
        heads: attention heads.
        d_kv: width of one head; query, key and value are ``heads * d_kv`` wide.
        vocab: rows of the embedding table.
        positions: rows of the learned position table, 0 where there is none.
        lm_head: whether a language-model head is there.
    """

    blocks: int
    decoder_blocks: int
    d_model: int
    d_ff: int
    heads: int
    d_kv: int
    vocab: int
    positions: int
    lm_head: bool


class _Part:
    """A part of a spec that many trials share: its canonical text is made once."""

    @cached_property
    def text(self) -> str:
        """Canonical JSON."""
        return canonical(plain(self))


@dataclass(frozen=True)
class BackboneRef(_Part):
    """A backbone as a trial names it: family, scale, shape and the identity of its weights."""

    name: str
    family: str  # bert, bloom, t5
    scale: str
    shape: Shape
    weights: Source
    head_scale: float | None = None  # s of the frozen head, encoders only


@dataclass(frozen=True)
class TaskRef(_Part):
    """A task as a trial names it: data identity and upper limits of rows (None: all)."""

    name: str
    data: Source
    train_rows: int | None = None
    validation_rows: int | None = None
    test_rows: int | None = None


@dataclass(frozen=True)
class Method(_Part):
    """What is trained. Sizes that don't apply are None.

    ``apet`` has ``operations`` (shares in lowest terms), ``sites`` (per operation), ``placement``
    and ``count``, with soft tokens among its sites also ``tokens``; the others have the sizes that their row of
    ``trials.modules.methods`` names.

    Args:
        further: sizes whose names came after the first specs were written: a spec has them where they are set, and
            only there, so that no older spec changes.
    """

    name: str
    operations: Mapping[str, int] | None = None
    sites: Mapping[str, tuple[str, ...]] | None = None
    placement: str | None = None
    count: int | None = None
    rank: int | None = None
    alpha: float | None = None
    bottleneck: int | None = None
    tokens: int | None = None
    further: Mapping[str, int | float] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.text)

    @cached_property
    def text(self) -> str:
        """Canonical JSON."""
        own = plain(self)
        further = own.pop("further")
        return canonical(own | further)

    @property
    def sizes(self) -> dict[str, int | float]:
        """Every size that is set, by name."""
        first = {"rank": self.rank, "alpha": self.alpha, "bottleneck": self.bottleneck, "tokens": self.tokens}
        return {name: value for name, value in first.items() if value is not None} | dict(self.further)

    @staticmethod
    def sized(name: str, sizes: Mapping[str, int | float]) -> Method:
        """A method with some sizes, whichever they are."""
        return Method(name, **_fields(sizes))


@dataclass(frozen=True)
class Training(_Part):
    """Optimisation and evaluation settings.

    ``early_stop``: evaluations without a better validation score before a trial ends, None: never.
    ``precision``: one of :data:`PRECISIONS`, as requested; the row has the resolved one. Anything else is an ApetError.
    """

    steps: int
    batch_size: int = 32
    eval_every: int | None = None  # None: at the last step only
    early_stop: int | None = None
    precision: str = "auto"
    max_input_length: int = 128
    max_generated_length: int = 1

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            why = " (T5 overflows fp16, so it is none)" if self.precision == "fp16" else ""
            raise ApetError(f"precision {self.precision!r}{why}: {choices(self.precision, PRECISIONS)}")


@dataclass(frozen=True)
class Trial:
    """One point of a sweep.

    ``spec_version`` is an older one where the trial was rebuilt from a row of an older release: to look at, not to run.
    """

    backbone: BackboneRef
    task: TaskRef
    method: Method
    learning_rate: float
    training: Training
    train_seed: int = 0
    position_seed: int | None = None  # apet only
    head: str | None = None  # verbalizer, frozen, trained; None for families that generate
    labels: str = "own"
    evaluate_on: tuple[TaskRef, ...] = field(default=())
    spec_version: int = SPEC_VERSION

    @cached_property
    def spec(self) -> str:
        """Canonical JSON of everything that decides the result."""
        return self._spec_less()

    @cached_property
    def trial_id(self) -> str:
        """The first 20 hex digits of the sha256 of :attr:`spec`."""
        return digest(self.spec)

    @cached_property
    def cell_id(self) -> str:
        """Shared by trials that differ only in seeds and learning rate: one cell of a table."""
        return keys.cell(self.spec)

    @cached_property
    def curve_id(self) -> str:
        """Shared by trials that differ only in count, seeds and learning rate: one count curve."""
        return keys.curve(self.spec)

    @cached_property
    def pack_key(self) -> str:
        """Shared by trials that may train in one pack: same backbone, task, data order, head, steps.

        ``full`` trains the backbone itself and shares with nobody.
        """
        if self.method.name == "full":
            return self.trial_id
        return digest(self._spec_less(*keys.PACK_AXES))

    def _spec_less(self, *left_out: str) -> str:
        """The spec without some of its top keys, joined from the texts of its parts."""
        texts = {
            "backbone": self.backbone.text,
            "evaluate_on": f"[{','.join(target.text for target in self.evaluate_on)}]",
            "head": scalar(self.head),
            "labels": scalar(self.labels),
            "learning_rate": scalar(self.learning_rate),
            "method": self.method.text,
            "position_seed": scalar(self.position_seed),
            "spec_version": scalar(self.spec_version),
            "task": self.task.text,
            "text_version": scalar(TEXT_VERSION),
            "train_seed": scalar(self.train_seed),
            "training": self.training.text,
        }
        return "{" + ",".join(f'"{key}":{text}' for key, text in texts.items() if key not in left_out) + "}"

    @staticmethod
    def from_spec(spec: str) -> Trial:
        """Rebuild a trial from its row's ``spec``.

        Raises:
            ApetError: the text is no spec, or one of another version.
        """
        try:
            data = json.loads(spec)
            version = data["spec_version"]
            text = data.pop("text_version")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ApetError(f"not a trial's spec ({error!r}): {spec[:80]!r}") from None
        if version not in READABLE or text != TEXT_VERSION:
            readable = " and ".join(f"{each}.{TEXT_VERSION}" for each in READABLE)
            raise ApetError(
                f"spec version {version}.{text}; this build reads {readable}: "
                "use the release that wrote it, or run the sweep again"
            )
        try:
            trial = _rebuild(data)
        except (KeyError, TypeError, AttributeError) as error:
            raise ApetError(f"not a trial's spec ({error!r}): {spec[:80]!r}") from None
        if trial.spec != spec:
            raise ApetError(
                f"not the canonical text of a trial's spec: {spec[:80]!r}; was it edited? "
                "Take the spec of a row as it is, or run the sweep again"
            )
        return trial


def _rebuild(data: dict[str, Any]) -> Trial:
    method, backbone = data["method"], data["backbone"]
    if method.get("sites"):
        method["sites"] = {op: tuple(kinds) for op, kinds in method["sites"].items()}
    parts = {"shape": Shape(**backbone["shape"]), "weights": Source(**backbone["weights"])}
    return Trial(
        backbone=BackboneRef(**{**backbone, **parts}),
        task=_task(data["task"]),
        method=Method(**_fields(method)),
        training=Training(**data["training"]),
        evaluate_on=tuple(_task(t) for t in data["evaluate_on"]),
        **{k: data[k] for k in ("learning_rate", "train_seed", "position_seed", "head", "labels", "spec_version")},
    )


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a :class:`Method`: what has no field of its own is a further size.

    Raises:
        TypeError: which is no number.
    """
    own = {f.name for f in fields(Method)} - {"further"}
    further = {name: value for name, value in values.items() if name not in own}
    for name, value in further.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} {value!r}: no size of a method")
    return {name: value for name, value in values.items() if name in own} | {"further": further}


def _task(data: dict[str, Any]) -> TaskRef:
    return TaskRef(**{**data, "data": Source(**data["data"])})
