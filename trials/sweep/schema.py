"""The structure of a sweep file: its keys, their types and ranges, as pydantic models.

What a value must be is said in our own words, once, beside its type (``Says``); what needs the tables
of backbones, tasks and methods is checked in ``trials.sweep.blocks``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, Tag, create_model

from trials.families import FAMILIES
from trials.modules.methods import METHODS, SIZED, Rule, Size
from trials.modules.operations import OPERATIONS
from trials.sweep.rules import Choice, Item, Says, by_counts, by_method, by_type, listed, one_of
from trials.trial import PLACEMENTS, PRECISIONS

UNSET: Any = None  # the default of a key that may be left out; `model_fields_set` tells it from a written null
LARGEST = 2**53  # whole numbers above this are no exact JSON numbers


class Model(BaseModel):
    """No unknown keys, no conversions."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True)


Positive = Annotated[int, Field(ge=1, le=LARGEST), Says("a whole number, 1 or more")]
Seed = Annotated[int, Field(ge=0, le=LARGEST), Says("a whole number, 0 or more")]
RowLimit = Annotated[int | None, Field(ge=1, le=LARGEST), Says("a whole number, 1 or more; null takes all rows")]
Text = Annotated[str, Field(min_length=1), Says("text")]
LONGEST_NAME = 100  # characters: names become parts of file names, which hold 255 bytes
Name = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=LONGEST_NAME),
    Says(f"a name of letters, digits, dots, dashes and underscores, {LONGEST_NAME} at most"),
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
Operation = Annotated[str, Choice(OPERATIONS)]
Placement = Annotated[str, Choice(PLACEMENTS)]
Sized = Annotated[str, Choice(SIZED)]
Head = Annotated[str, Choice(("auto", "verbalizer", "frozen", "trained"))]
Labels = Annotated[str, Choice(("own", "unified"))]


class Backbone(Model):
    """A backbone by name, or one of a local folder."""

    name: Name
    """A built-in name (`apet backbones` lists them), or any name for weights of your own."""
    family: Annotated[str, Choice(FAMILIES)] = UNSET
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


class Range(Model):
    """Geometric counts, both ends included, rounded, repeats dropped."""

    from_: Annotated[Positive, Field(alias="from")]
    to: Annotated[
        Annotated[int, Field(ge=1, le=LARGEST)] | Annotated[str, Choice(("capacity", *SIZED))],
        Says(f"a whole number, {listed(('capacity', *SIZED))}", ("capacity", *SIZED)),
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
        one_of(f"a list, {{from, to, points}}, or {{like: [{', '.join(SIZED)}]}}", by_counts),
    ]
    over_capacity: Annotated[str, Choice(("error", "skip"))] = "error"
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
    precision: Annotated[str, Choice(PRECISIONS, " (T5 overflows fp16)")] = "auto"


def _auto(rule: str) -> Says:
    return Says(f"auto, {rule}", ("auto", "true", "false"))


class Resources(Model):
    """What a sweep asks for, for every pack; never part of a trial's identity."""

    gpus: Annotated[Annotated[int, Field(ge=0)] | Literal["auto"], _auto("or a whole number, 0 or more")] = "auto"
    """GPUs per pack, 0 for the CPU."""
    ranks: Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], _auto("or a whole number, 1 or more")] = "auto"
    """Processes per pack, which share the rows of a batch: one a GPU, or of one thread each on the CPU."""
    zero_stage: Annotated[Annotated[int, Field(ge=0, le=3)] | Literal["auto"], _auto("0, 1, 2 or 3")] = "auto"
    offload: Annotated[bool | Literal["auto"], _auto("true or false")] = "auto"
    recompute: Annotated[bool | Literal["auto"], _auto("true or false")] = "auto"
    """Whether blocks are computed again on the way back, and keep their input alone: less memory, more time."""
    pack_size: Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], _auto("or a whole number, 1 or more")] = "auto"
    micro_batch: Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], _auto("or a whole number, 1 or more")] = (
        "auto"
    )
    """Rows of a batch in memory at once, at most; the numbers are the same."""
    checkpoint_s: Annotated[float, Field(gt=0, allow_inf_nan=False), Says("a number of seconds above 0")] = 30.0
    """Seconds of training between two checkpoints at most; evaluations write one too."""
    retries: Seed = 2
    """New attempts per run after a failure of infrastructure."""


def _model(name: str, rule: Rule) -> type[_Method]:
    """The model of a method, from its row: its name, its sizes, and the keys that every method has."""
    fields: dict[str, Any] = {"method": Literal[name], **{key: _field(size) for key, size in rule.sizes.items()}}
    return create_model(name.capitalize(), __base__=_Method, __doc__=rule.summary, __module__=__name__, **fields)


def _field(size: Size) -> Any:
    return Annotated[Positive if isinstance(size.default, int) else Rate, Field(description=size.what)], size.default


METHOD_MODELS: Mapping[str, type[_Method]] = {
    name: Apet if name == "apet" else _model(name, rule) for name, rule in METHODS.items()
}
"""The model of every method."""

if TYPE_CHECKING:
    MethodEntry = Any
else:  # one of a table's models, which a type checker doesn't know
    _NAMES = f"one of {', '.join(METHODS)}"
    MethodEntry = Annotated[
        Union[  # the alternatives are computed
            Annotated[str, Says(_NAMES, tuple(METHODS)), Tag("<name>")],
            *(Annotated[model, Tag(f"<{name}>")] for name, model in METHOD_MODELS.items()),
        ],
        one_of(_NAMES, by_method, "method", tuple(METHODS)),
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
