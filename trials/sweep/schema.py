"""The structure of a sweep file: its keys, their types and ranges, as pydantic models.

What a value must be is said in our own words, once, beside its type (``Says``); what needs the tables
of backbones, tasks and methods is checked in ``trials.sweep.blocks``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Tag

from trials.sweep.rules import Item, Says, by_counts, by_method, by_type, one_of
from trials.trial import OPERATIONS, PLACEMENTS

UNSET: Any = None  # the default of a key that may be left out; `model_fields_set` tells it from a written null
LARGEST = 2**53  # whole numbers above this are no exact JSON numbers

FAMILIES = ("bert", "bloom", "t5")
METHODS = ("full", "prompt", "bitfit", "lora", "adapter", "apet")
SIZED = ("prompt", "bitfit", "lora", "adapter")  # methods whose own count `counts` may refer to


class Model(BaseModel):
    """No unknown keys, no conversions."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True)


def _listed(names: tuple[str, ...]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _choice(names: tuple[str, ...]) -> Says:
    return Says(_listed(names), names)


Positive = Annotated[int, Field(ge=1, le=LARGEST), Says("a whole number, 1 or more")]
Seed = Annotated[int, Field(ge=0, le=LARGEST), Says("a whole number, 0 or more")]
RowLimit = Annotated[int | None, Field(ge=1, le=LARGEST), Says("a whole number, 1 or more; null takes all rows")]
Text = Annotated[str, Field(min_length=1), Says("text")]
Name = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"), Says("a name of letters, digits, dots, dashes and underscores")
]
Rate = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False),
    Says("a number above 0, such as 1e-3 (without quotes)"),
]
Seeds = Annotated[
    Annotated[Positive, Tag("<number>")] | Annotated[list[Seed], Field(min_length=1), Tag("<list>")],
    one_of("a number n of seeds (0 to n-1) or a list of seeds", by_type),
]
Rates = Annotated[
    Annotated[Literal["paper"], Says("a list of rates, or `paper`", ("paper",)), Tag("<name>")]
    | Annotated[list[Rate], Field(min_length=1), Tag("<list>")],
    one_of("a list of rates, or `paper`", by_type),
]
Operation = Annotated[Literal["add", "concat", "plug"], _choice(OPERATIONS)]
Placement = Annotated[Literal["discrete", "adjacent"], _choice(PLACEMENTS)]
Sized = Annotated[Literal["prompt", "bitfit", "lora", "adapter"], _choice(SIZED)]
Head = Annotated[
    Literal["auto", "verbalizer", "frozen", "trained"], _choice(("auto", "verbalizer", "frozen", "trained"))
]
Labels = Annotated[Literal["own", "unified"], _choice(("own", "unified"))]


class Backbone(Model):
    """A backbone by name, or one of a local folder."""

    name: Name
    """A built-in name (`apet backbones` lists them), or any name for weights of your own."""
    family: Annotated[Literal["bert", "bloom", "t5"], _choice(FAMILIES)] = UNSET
    """Needed for a name that is not built in."""
    scale: Name = UNSET
    """The scale shown in tables; the name itself by default."""
    model_dir: Text = UNSET
    """A folder with config.json, weights and tokenizer, relative to the sweep file."""


class Task(Model):
    """A task by name, with where its data lies and how much of it is used."""

    name: Name
    """A built-in name; `apet tasks` lists them."""
    data_dir: Text = UNSET
    """A folder with train, validation and test as .jsonl, .jsonl.gz, .parquet or .csv."""
    train_rows: RowLimit = None
    """Upper limit: a prefix of a fixed shuffle."""
    validation_rows: RowLimit = None
    test_rows: RowLimit = None


class _Method(Model):
    learning_rates: Rates = UNSET
    """This method's own rates, in place of the block's."""
    train_seeds: Seeds = UNSET
    """This method's own train seeds, in place of the block's."""


class Full(_Method):
    """Trains the backbone itself."""

    method: Literal["full"]


class Prompt(_Method):
    """Soft tokens in front of the text."""

    method: Literal["prompt"]
    tokens: Positive = 100


class Bitfit(_Method):
    """`add` on every bias."""

    method: Literal["bitfit"]


class Lora(_Method):
    """Low-rank components on the queries and values of self-attention."""

    method: Literal["lora"]
    rank: Positive = 8
    alpha: Rate = 16.0
    """The scale is alpha / rank."""


class Adapter(_Method):
    """Bottlenecks after self-attention and feed-forward."""

    method: Literal["adapter"]
    bottleneck: Positive = 24


class Range(Model):
    """Geometric counts, both ends included, rounded, repeats dropped."""

    from_: Annotated[Positive, Field(alias="from")]
    to: Annotated[
        Annotated[int, Field(ge=1, le=LARGEST)] | Literal["capacity", "prompt", "bitfit", "lora", "adapter"],
        Says("a whole number, capacity, prompt, bitfit, lora or adapter", ("capacity", *SIZED)),
    ]
    """A count, `capacity`, or a method: its own count on each backbone."""
    points: Annotated[int, Field(ge=2, le=10_000), Says("a whole number, 2 to 10000")]


class Like(Model):
    """The counts that other methods have on each backbone."""

    like: Annotated[list[Sized], Field(min_length=1)]


class Apet(_Method):
    """Any number of parameters at seeded positions."""

    method: Literal["apet"]
    operations: Annotated[dict[Operation, Positive], Field(min_length=1)] = UNSET
    """Weights of the operations; only their ratio counts."""
    sites: dict[Operation, Annotated[list[Text], Field(min_length=1)]] = UNSET
    """Where each operation may go; the defaults are in the documentation of modules."""
    tokens: Positive = UNSET
    """Room for soft tokens, where `concat` has the site `soft_tokens`: 100 by default."""
    placement: Annotated[
        Annotated[Placement, Tag("<name>")] | Annotated[list[Placement], Field(min_length=1), Tag("<list>")],
        one_of("discrete, adjacent, or a list of them", by_type),
    ] = UNSET
    counts: Annotated[
        Annotated[list[Positive], Field(min_length=1), Tag("<list>")]
        | Annotated[Range, Tag("<range>")]
        | Annotated[Like, Tag("<like>")],
        one_of("a list, {from, to, points}, or {like: [prompt, bitfit, lora, adapter]}", by_counts),
    ]
    over_capacity: Annotated[Literal["error", "skip"], _choice(("error", "skip"))] = "error"
    position_seeds: Seeds = 1


class Training(Model):
    """Optimisation and evaluation."""

    steps: Annotated[int, Field(ge=0, le=LARGEST), Says("a whole number, 0 or more (0 evaluates only)")] = UNSET
    batch_size: Positive = 32
    eval_every: Annotated[
        int | None, Field(ge=1, le=LARGEST), Says("a whole number of steps, 1 or more; null evaluates at the end only")
    ] = None
    early_stop: Annotated[
        int | None, Field(ge=1, le=LARGEST), Says("a whole number of evaluations, 1 or more; null never stops early")
    ] = None
    precision: Annotated[Literal["auto", "fp32", "bf16"], _choice(("auto", "fp32", "bf16"))] = "auto"


def _auto(rule: str) -> Says:
    return Says(f"auto, {rule}", ("auto", "true", "false"))


class Resources(Model):
    """What a sweep asks for, for every pack; never part of a trial's identity."""

    gpus: Annotated[Annotated[int, Field(ge=0)] | Literal["auto"], _auto("or a whole number, 0 or more")] = "auto"
    """GPUs per pack, 0 for the CPU."""
    zero_stage: Annotated[Annotated[int, Field(ge=0, le=3)] | Literal["auto"], _auto("0, 1, 2 or 3")] = "auto"
    offload: Annotated[bool | Literal["auto"], _auto("true or false")] = "auto"
    pack_size: Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], _auto("or a whole number, 1 or more")] = "auto"
    micro_batch: Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], _auto("or a whole number, 1 or more")] = (
        "auto"
    )
    """Rows of a batch in memory at once, at most; the numbers are the same."""
    retries: Seed = 2
    """New attempts per run after a failure of infrastructure."""


MethodEntry = Annotated[
    Annotated[str, Says(f"one of {', '.join(METHODS)}", METHODS), Tag("<name>")]
    | Annotated[Full, Tag("<full>")]
    | Annotated[Prompt, Tag("<prompt>")]
    | Annotated[Bitfit, Tag("<bitfit>")]
    | Annotated[Lora, Tag("<lora>")]
    | Annotated[Adapter, Tag("<adapter>")]
    | Annotated[Apet, Tag("<apet>")],
    one_of(f"one of {', '.join(METHODS)}", by_method, "method", METHODS),
    Item(),
]
BackboneEntry = Annotated[
    Annotated[Text, Tag("<name>")] | Annotated[Backbone, Tag("<mapping>")],
    one_of("a name, or {name, family, model_dir}", by_type),
    Item(),
]
TaskEntry = Annotated[
    Annotated[Text, Tag("<name>")] | Annotated[Task, Tag("<mapping>")],
    one_of("a name, or {name, data_dir, train_rows, validation_rows, test_rows}", by_type),
    Item(),
]


class Block(Model):
    """Axes that multiply."""

    backbones: Annotated[list[BackboneEntry], Field(min_length=1)] = UNSET
    tasks: Annotated[list[TaskEntry], Field(min_length=1)] = UNSET
    methods: Annotated[list[MethodEntry], Field(min_length=1)] = UNSET
    train_seeds: Seeds = UNSET
    """Data order and initial values: a list, or n for 0 to n-1."""
    learning_rates: Rates = UNSET
    """Rates tried, or `paper` for the study's."""
    head: Head = "auto"
    """Encoders only."""
    labels: Labels = "own"
    """`unified` maps every task's labels to 0 and 1, for transfer."""
    evaluate_on: list[TaskEntry] = UNSET
    """Other tasks, scored zero-shot at the best step; a trial's own task is left out."""
    training: Training = UNSET


class SweepFile(Block):
    """A sweep of apet. With `blocks`, the keys beside it are the blocks' defaults."""

    name: Name = UNSET
    """The file's stem by default."""
    resources: Resources = UNSET
    blocks: Annotated[list[Annotated[Block, Item()]], Field(min_length=1)] = UNSET
