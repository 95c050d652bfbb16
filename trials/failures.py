"""Why a trial failed, as a class that says what may help: the column ``failure_class``.

The class is decided where the error is caught, which knows what was being done, and never read out of its text.
``error_class`` beside it is the exception's own name.
"""

from __future__ import annotations

BAD_TRIAL = "bad_trial"  # this trial can't be done as it is; its pack mates can
BAD_INPUT = "bad_input"  # weights or data: every trial that needs them fails, once, together
OUT_OF_MEMORY = "out_of_memory"  # alone, with one row a pass; a larger set-up may hold it
INFRASTRUCTURE = "infrastructure"  # the worker, its card, the store, the network: another try elsewhere may do
PREEMPTED = "preempted"  # the machine was taken away: at once again, and it counts as no failure

FAILURE_CLASSES = (BAD_TRIAL, BAD_INPUT, OUT_OF_MEMORY, INFRASTRUCTURE, PREEMPTED)


class InfrastructureError(RuntimeError):
    """The worker can't go on, through no fault of the trial at hand; it ends, and its trials come back elsewhere."""
