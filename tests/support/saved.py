"""What a pack has left in a store when its machine is lost: how far it is, how old that is, how large."""

from __future__ import annotations

from dataclasses import dataclass

from pyarrow.fs import FileSystem

from trials.backbones import loaded_parameters
from trials.store.store import Store
from trials.trial import BackboneRef
from workers.pack.checkpoint import Checkpoint

WHOLE_S = 1.0  # S3 says in whole seconds when a file was written
LATE = 200  # steps by which a checkpoint may be late: a machine has other things to do, and this goes by its pace


@dataclass(frozen=True)
class Saved:
    """A trial's checkpoint.

    Args:
        step: steps done.
        pace: seconds a step by then, evaluations included.
        written: when, in seconds (Unix).
        size: bytes.
    """

    step: int
    pace: float
    written: float
    size: int

    @staticmethod
    def of(store: Store, trial_id: str) -> Saved | None:
        """The last one of a trial; None where there is none (any more), or a new one just now."""
        data = store.load_checkpoint(trial_id)
        if data is None:
            return None
        files, path = FileSystem.from_uri(store.checkpoint_file(trial_id))
        if (modified := files.get_file_info(path).mtime_ns) is None:
            return None  # the trial has ended just now
        try:
            found = Checkpoint.from_bytes(data)
        except ValueError:  # replaced while it was read
            return None
        pace = (found.facts["train_s"] + found.facts["eval_s"]) / found.step
        return Saved(found.step, pace, modified / 1e9, len(data))

    def repeated(self, lost: float, checkpoint_s: float) -> None:
        """Make sure that little of what was done must be done again, and say how much.

        Args:
            lost: when the machine was lost, in seconds (Unix).
            checkpoint_s: of the sweep's resources.
        """
        seconds = max(0.0, lost - self.written)
        print(f"--- {seconds:.1f} s of training to repeat, some {seconds / self.pace:.0f} steps from {self.step} on")
        assert seconds <= checkpoint_s + WHOLE_S + LATE * self.pace

    def beside(self, ref: BackboneRef) -> str:
        """Its size beside that of the backbone's weights on a CPU, which has them in 4 bytes each."""
        backbone = 4 * loaded_parameters(ref)
        assert self.size < backbone
        share = f"{100 * self.size / backbone:.1f} %"
        return f"checkpoint {self.size / 1e3:.0f} kB, backbone {backbone / 1e6:.1f} MB ({share})"
