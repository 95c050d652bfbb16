"""The rows of a store: one flat table of attempts, one of learning curves.

A row has everything that analyses, `apet resubmit` and `apet show` need: nothing is parsed out of a
name or a path. Scores are fractions in [0, 1]; seconds are wall clock; a value that is missing or does
not apply is null, never 0.
"""

from __future__ import annotations

import math
import secrets
from typing import Any

import pyarrow as pa

from trials.failures import FAILURE_CLASSES
from trials.trial import Trial

SCHEMA_VERSION = 4  # 2: failure_class, ranks, micro_batch, threads; 3: recompute; 4: right, untrained_*, majority_right
STATES = ("completed", "diverged", "failed")  # in the order in which an attempt is preferred

Record = dict[str, Any]

_TEXT, _INT, _REAL = pa.string(), pa.int64(), pa.float64()
_BYTES = pa.binary()
_TIME = pa.timestamp("us", tz="UTC")
_TEXTS, _COUNTS, _SCORES = (pa.map_(pa.string(), kind) for kind in (_TEXT, _INT, _REAL))

IDENTITY = pa.schema(
    [
        ("trial_id", _TEXT),
        ("spec", _TEXT),  # canonical JSON; its hash is trial_id
        ("family", _TEXT),
        ("backbone", _TEXT),
        ("scale", _TEXT),
        ("backbone_parameters", _INT),
        ("weights", _TEXT),  # pretrained, random
        ("weights_digest", _TEXT),
        ("weights_source", _TEXT),  # where they were found
        ("task", _TEXT),
        ("data_digest", _TEXT),
        ("data_source", _TEXT),
        ("train_rows", _INT),
        ("validation_rows", _INT),
        ("test_rows", _INT),
        ("method", _TEXT),
        ("operations", _COUNTS),  # scalars given to each
        ("placement", _TEXT),
        ("count_requested", _INT),
        ("count_actual", _INT),
        ("head", _TEXT),
        ("head_parameters", _INT),
        ("labels", _TEXT),
        ("position_seed", _INT),
        ("train_seed", _INT),
        ("learning_rate", _REAL),
        ("batch_size", _INT),
        ("steps", _INT),
    ]
)
MEASURED = (  # the columns of IDENTITY that a trial alone doesn't tell
    "backbone_parameters",
    "weights_digest",
    "weights_source",
    "data_digest",
    "data_source",
    "train_rows",
    "validation_rows",
    "test_rows",
    "operations",
    "count_actual",
    "head_parameters",
)
OUTCOME = pa.schema(
    [
        ("state", _TEXT),
        ("metric", _TEXT),
        ("validation_score", _REAL),
        ("test_score", _REAL),
        ("chance", _REAL),
        ("majority", _REAL),
        ("right", _BYTES),  # scores of the test rows in the split's fixed order, see trials.store.scores
        ("untrained_score", _REAL),  # the test score of the frozen backbone with no module at all
        ("untrained_right", _BYTES),  # its scores of the test rows, as above
        ("untrained_key", _TEXT),  # shared by all trials that it is the reference of, see trials.keys.untrained
        ("majority_right", _BYTES),  # where the most frequent test label is right, as above
        ("best_step", _INT),
        ("steps_done", _INT),
        ("train_loss", _REAL),
        ("diverged_at", _INT),
        ("failure_class", _TEXT),  # of trials.failures
        ("error_class", _TEXT),  # the exception's name
        ("error_message", _TEXT),
        ("metrics", _SCORES),  # secondary ones
        ("transfer", _SCORES),  # target task: zero-shot score
        ("transfer_sources", _TEXTS),  # target task: where its data was found
    ]
)
BY_ROW = ("right", "untrained_right", "majority_right")  # columns of bytes, for programs and not for people
EXECUTION = pa.schema(
    [
        ("attempt_id", _TEXT),
        ("attempt", _INT),  # 0 is the first
        ("sweep", _TEXT),
        ("pack_id", _TEXT),
        ("pack_size", _INT),
        ("device", _TEXT),
        ("devices", _INT),
        ("ranks", _INT),
        ("zero_stage", _INT),
        ("offload", pa.bool_()),
        ("recompute", pa.bool_()),  # whether blocks were computed again on the way back
        ("micro_batch", _INT),  # rows of a batch that went through at once at most; null: all
        ("threads", _INT),  # torch's, of one rank
        ("precision", _TEXT),  # the resolved one
        ("peak_memory_bytes", _INT),
        ("load_s", _REAL),
        ("train_s", _REAL),
        ("eval_s", _REAL),
        ("wall_s", _REAL),
        ("tokens", _INT),
        ("truncated_rows", _INT),
        ("host", _TEXT),
        ("node_type", _TEXT),
        ("started_at", _TIME),
        ("finished_at", _TIME),
        ("log_uri", _TEXT),  # inside the store, so that it survives copying
        ("checkpoint_uri", _TEXT),
        ("module_uri", _TEXT),
        ("versions", _TEXTS),
        ("commit", _TEXT),
        ("schema_version", _INT),
    ]
)
SCHEMA = pa.schema([*IDENTITY, *OUTCOME, *EXECUTION])
CURVES = pa.schema(
    [
        ("trial_id", _TEXT),
        ("attempt_id", _TEXT),
        ("step", _INT),
        ("split", _TEXT),
        ("metric", _TEXT),
        ("value", _REAL),
        ("loss", _REAL),
        ("seconds", _REAL),
    ]
)


def new_attempt_id(trial_id: str, attempt: int) -> str:
    """A name for one attempt that is never given twice, on any machine."""
    return f"{trial_id}-{attempt}-{secrets.token_hex(4)}"


def identity(trial: Trial) -> Record:
    """The columns that a trial alone decides, before anything runs."""
    method, training = trial.method, trial.training
    return {
        "trial_id": trial.trial_id,
        "spec": trial.spec,
        "family": trial.backbone.family,
        "backbone": trial.backbone.name,
        "scale": trial.backbone.scale,
        "weights": "random" if trial.backbone.weights.kind == "random" else "pretrained",
        "task": trial.task.name,
        "method": method.name,
        "placement": method.placement,
        "count_requested": method.count,
        "head": trial.head,
        "labels": trial.labels,
        "position_seed": trial.position_seed,
        "train_seed": trial.train_seed,
        "learning_rate": trial.learning_rate,
        "batch_size": training.batch_size,
        "steps": training.steps,
    }


def record(trial: Trial, **columns: Any) -> Record:
    """One whole row: the trial's identity, the given ``columns``, null elsewhere.

    ``attempt`` is 0 and ``attempt_id`` a new one unless given. ``columns`` win over the identity (a
    folder's weights may turn out to be random), but for ``trial_id`` and ``spec``.
    """
    unknown = columns.keys() - set(SCHEMA.names)
    assert not unknown, f"no columns of a row: {sorted(unknown)}"
    assert not columns.keys() & {"trial_id", "spec", "schema_version"}, "identity is the trial's alone"
    row: Record = {**dict.fromkeys(SCHEMA.names), **identity(trial), "attempt": 0, **columns}
    row["schema_version"] = SCHEMA_VERSION
    row["attempt_id"] = row["attempt_id"] or new_attempt_id(trial.trial_id, row["attempt"])
    return row


def attempt_table(row: Record) -> pa.Table:
    """A row as a table of one row with the whole :data:`SCHEMA`.

    NaN becomes null: a missing score is missing.
    """
    assert row.keys() == set(SCHEMA.names), f"not a whole row: {sorted(row.keys() ^ set(SCHEMA.names))}"
    assert row["state"] in STATES, f"state {row['state']!r} is none of {STATES}"
    assert row["failure_class"] in (None, *FAILURE_CLASSES), f"failure_class {row['failure_class']!r}"
    assert str(row["attempt_id"]).startswith(f"{row['trial_id']}-{row['attempt']}-"), row["attempt_id"]
    return pa.Table.from_pylist([{name: _missing(value) for name, value in row.items()}], schema=SCHEMA)


def curve_table(row: Record, curve: list[dict[str, Any]]) -> pa.Table:
    """The learning curve of a row: its ids are filled in, missing values are null."""
    ids = {"trial_id": row["trial_id"], "attempt_id": row["attempt_id"]}
    unknown = {key for point in curve for key in point} - set(CURVES.names)
    assert not unknown, f"no columns of a curve: {sorted(unknown)}"
    points = [{key: _missing(value) for key, value in {**point, **ids}.items()} for point in curve]
    return pa.Table.from_pylist(points, schema=CURVES)


def _missing(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return {key: _missing(item) for key, item in value.items()}
    return value
