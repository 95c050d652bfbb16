"""Ray Tune as one would use it: a grid search over a function that calls ``transformers.Trainer`` on a PEFT model.

    python -m ways.tune_peft JOB CPUS SAMPLING

The best sensible settings: workers are kept from trial to trial (``reuse_actors``), so that imports are paid once;
rows are tokenised once and handed to all (``with_parameters``); batches are padded to their longest row, and hold
rows of like length where SAMPLING is ``group_by_length``, which is faster, but the longest come first, not in any
order as with us: look at the score beside the speed, and at ``random``, the Trainer's default;
evaluation rows are sorted by length; nothing is logged or saved, and the best step's tensors stay in memory. The last
line is JSON: scores, and when the first trial began and the last one ended, in seconds since the epoch.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import ray
import torch
import transformers
from ray import tune

from ways.classifier import Classifier, job_of, rows_of

os.environ.update(TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", TUNE_GLOBAL_CHECKPOINT_S="1e9", RAY_AIR_NEW_OUTPUT="0")


def encoded(job: Mapping[str, Any], split: str) -> list[dict[str, Any]]:
    """Tokens of every row; of evaluation rows the shortest first."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(job["model"])
    texts, labels = rows_of(job, split)
    ids = tokenizer(texts, truncation=True, max_length=job["max_length"], return_token_type_ids=False)["input_ids"]
    rows = [
        {"input_ids": row, "attention_mask": [1] * len(row), "labels": label}
        for row, label in zip(ids, labels, strict=True)
    ]
    return rows if split == "train" else sorted(rows, key=lambda row: len(row["input_ids"]))


class Best(transformers.TrainerCallback):
    """Keeps the tensors of the best step in memory."""

    def __init__(self) -> None:
        self.score, self.values = -1.0, []

    def on_evaluate(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        """A validation score is there."""
        if found["metrics"]["eval_accuracy"] > self.score:
            self.score, self.values = found["metrics"]["eval_accuracy"], found["model"].values()


def accuracy(found: transformers.EvalPrediction) -> dict[str, float]:
    """The task's metric."""
    return {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())}


def train(config: Mapping[str, Any], job: Mapping[str, Any], rows: Mapping[str, Any], sampling: str) -> None:
    """One trial."""
    torch.set_num_threads(1)
    began, trial = time.time(), job["trials"][config["trial"]]
    transformers.set_seed(trial["train_seed"])
    model, best = Classifier(job, trial), Best()
    arguments = transformers.TrainingArguments(
        output_dir=tempfile.gettempdir(),
        max_steps=job["steps"],
        per_device_train_batch_size=job["batch_size"],
        per_device_eval_batch_size=job["batch_size"],
        learning_rate=trial["learning_rate"],
        lr_scheduler_type="constant",
        train_sampling_strategy=sampling,
        eval_strategy="steps",
        eval_steps=job["eval_every"],
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        label_names=["labels"],
        use_cpu=True,
        seed=trial["train_seed"],
    )
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        data_collator=transformers.DataCollatorWithPadding(transformers.AutoTokenizer.from_pretrained(job["model"])),
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        compute_metrics=accuracy,
        callbacks=[best],
    )
    trainer.train()
    model.put(best.values)
    test = trainer.predict(rows["test"]).metrics["test_accuracy"]
    tune.report({"validation_score": best.score, "test_score": test, "began": began, "ended": time.time()})


def main() -> None:
    """Search the grid of a job."""
    job = job_of(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        ray.init(
            address="local",
            num_cpus=int(sys.argv[2]),
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=256 * 2**20,
        )
        rows = {split: encoded(job, split) for split in ("train", "validation", "test")}
        one = tune.with_parameters(train, job=job, rows=rows, sampling=sys.argv[3])
        found = tune.Tuner(
            tune.with_resources(one, {"cpu": 1}),
            param_space={"trial": tune.grid_search(list(range(len(job["trials"]))))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        if found.errors:
            sys.exit(f"{len(found.errors)} trials failed: {found.errors[0]}")
        ray.shutdown()
    names = ("validation_score", "test_score")
    scores = [{name: one.metrics[name] for name in names} for one in found]
    began, ended = min(one.metrics["began"] for one in found), max(one.metrics["ended"] for one in found)
    print(json.dumps({"scores": scores, "began": began, "ended": ended}))


if __name__ == "__main__":
    main()
