"""What a sweep asks for, for every pack: wishes that the planner keeps, or refuses by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

from trials.errors import ApetError, Problems, choices
from trials.sweep import yaml as sweep_yaml
from trials.sweep.check import Findings, structure
from trials.sweep.schema import SweepFile
from trials.sweep.setting import setting

Auto = Literal["auto"]


@dataclass(frozen=True)
class Resources:
    """What a sweep asks for, for every pack; never part of a trial's identity.

    ``auto`` leaves it to ``orchestrator.planning.fit``.

    Args:
        gpus: of a pack, 0 for the CPU.
        ranks: processes of a pack: one a GPU; on the CPU as many as are asked for, of one thread each.
        zero_stage: DeepSpeed's stage, 0 to 3.
        offload: to the machine's memory.
        recompute: blocks keep their input alone for the way back, and are computed again on it.
        pack_size: trials per pack at most; ``auto``: what is fastest there, as far as memory holds it.
        micro_batch: rows of a batch in memory at once, at most, of each rank: the numbers are the same; ``auto``: all,
            and fewer where all don't fit or memory runs out.
        checkpoint_s: seconds of training between two checkpoints at most; evaluations write one too.
        retries: new attempts per run after a failure of infrastructure.
    """

    gpus: int | Auto = "auto"
    ranks: int | Auto = "auto"
    zero_stage: int | Auto = "auto"
    offload: bool | Auto = "auto"
    recompute: bool | Auto = "auto"
    pack_size: int | Auto = "auto"
    micro_batch: int | Auto = "auto"
    checkpoint_s: float = 30.0
    retries: int = 2

    @staticmethod
    def of(text: str) -> Resources:
        """Those of a sweep's text alone, defaults filled in; whether its paths still lead anywhere doesn't matter.

        Raises:
            Problems: the text is no YAML.
        """
        return Resources.in_(structure(Findings(sweep_yaml.read(text, "sweep.yaml"))))

    @staticmethod
    def in_(file: SweepFile | None) -> Resources:
        """Those of a file's models."""
        return Resources(**file.resources.model_dump()) if file and file.resources else Resources()

    def with_(self, settings: Sequence[str]) -> Resources:
        """These with some replaced.

        Args:
            settings: ``resources.KEY=VALUE``.

        Raises:
            ApetError: a setting that is none of resources.
            Problems: a value that is none of its key's, or wishes that exclude each other.
        """
        changes = dict(setting(one) for one in settings)
        for path in changes:
            if len(path) != 2 or path[0] != "resources":
                raise ApetError(
                    f"--set {sweep_yaml.dotted(path)}: what a trial is stands in its row; give a key of resources, "
                    f"such as resources.gpus=1. {choices(str(path[-1]), [f.name for f in fields(Resources)])}"
                )
        report = Findings(sweep_yaml.read(sweep_yaml.edited("resources: {}\n", changes), "--set"))
        file = structure(report)
        report.raise_any()
        found = replace(self, **{str(name): getattr(Resources.in_(file), str(name)) for _, name in changes})
        found.check()
        return found

    @property
    def least_ranks(self) -> tuple[str, int]:
        """The key that says how many ranks a pack has at least, and how many that are."""
        given = {"ranks": self.ranks, "gpus": self.gpus}
        return max(((key, n) for key, n in given.items() if n != "auto"), key=lambda one: one[1], default=("ranks", 1))

    def conflicts(self, batch_size: int | None = None) -> Iterator[tuple[str, str]]:
        """Keys whose values exclude another's, each with what is wrong with it.

        Args:
            batch_size: rows of a batch of the trials; None: it doesn't matter.
        """
        if self.gpus not in ("auto", 0) and self.ranks not in ("auto", self.gpus):
            yield (
                "ranks",
                f"{self.ranks}, but resources.gpus is {self.gpus}, and a rank holds one GPU; give the same number, or "
                "auto",
            )
        if self.offload is True and self.gpus == 0:
            yield (
                "offload",
                "true, but resources.gpus is 0, and offload is from a GPU to the machine's memory; give false or auto, "
                "or GPUs",
            )
        if self.offload is True and self.zero_stage in (0, 1):
            yield (
                "offload",
                f"true, but resources.zero_stage is {self.zero_stage}, which leaves all that is large on the card; "
                "give stage 2 (moments and gradients), 3 (weights too) or auto",
            )
        key, ranks = self.least_ranks
        if batch_size is not None and ranks > batch_size:
            yield (
                key,
                f"{ranks}, but training.batch_size is {batch_size}, and ranks share the rows of a batch, at least one "
                f"each; give {batch_size} at most, or a larger batch",
            )

    def check(self, batch_size: int | None = None) -> None:
        """Refuse wishes that exclude each other.

        Raises:
            Problems: all of them, see :meth:`conflicts`.
        """
        found = [f"resources.{key}: {what}" for key, what in self.conflicts(batch_size)]
        if found:
            raise Problems(found)
