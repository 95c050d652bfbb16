"""The untrained module: what the frozen backbone answers with nothing in it, under the trials' own head or words.

It is what a trained module has to beat. It costs one pass over the test rows, and is had once for all trials that share
it: whoever needs it first writes it to the store, the others read it there. Two that need it at once both do the work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from trials import keys
from trials.store.answers import Answered
from trials.store.record import Record
from trials.store.retry import patiently
from trials.store.scores import pack_scores
from trials.store.store import Store
from trials.trial import Trial
from workers.backbone import readout
from workers.backbone.load import Backbone
from workers.gang.gang import ALONE, Gang
from workers.modules.kept import Kept
from workers.modules.model import PackModel
from workers.pack.evaluate import Answers, answers, gathered, graded
from workers.pack.portions import Portions
from workers.rows.warm import PackData


class Untrained:
    """What one worker knows of untrained modules.

    Args:
        store: where they are read from and written to.
        gang: the ranks that score one together, of which the first reads and writes.
    """

    def __init__(self, store: Store, gang: Gang = ALONE) -> None:
        self._store, self._gang = store, gang
        self._known: dict[str, Record] = {}  # the same on every rank

    def columns(self, trial: Trial, backbone: Backbone, data: PackData, scoring: Portions, kept: Kept) -> Record:
        """``untrained_*`` of the rows of a trial, and of all that share its pack; called by all ranks.

        Args:
            trial: one of the pack's.
            backbone: its own, with no module in it, frozen, in the precision that the rows name.
            data: its rows.
            scoring: what goes through at once at most; smaller afterwards where memory ran out.
            kept: goes first, where memory runs out.

        Raises:
            OutOfMemoryError: one row doesn't fit.
            InfrastructureError: the store can't be written.
        """
        key = keys.untrained(trial.spec, backbone.precision)
        if key not in self._known:
            found = self._gang.of_first(self._columns(key, self._stored(key, data)))
            if found is None:
                answered = self._scored(trial, backbone, data, scoring, kept)
                if self._gang.first:
                    patiently(self._store.save_untrained, key, data.task.name, answered)
                found = self._columns(key, answered)
            assert found is not None, "scored, or read"
            self._known[key] = found
        return self._known[key]

    def _stored(self, key: str, data: PackData) -> Answered | None:
        return self._store.load_untrained(key, len(data.test)) if self._gang.first else None

    @staticmethod
    def _columns(key: str, answered: Answered | None) -> Record | None:
        """Of answers that were read or have just been given: the same."""
        if answered is None:
            return None
        score = math.fsum(answered.scores) / len(answered.scores)
        return {"untrained_key": key, "untrained_score": score, "untrained_right": pack_scores(answered.scores)}

    def _scored(self, trial: Trial, backbone: Backbone, data: PackData, scoring: Portions, kept: Kept) -> Answered:
        """The answers of a slice with no module, as those of any slice."""
        read = readout.make(trial, data.task, backbone, 1)
        holders = self._gang if backbone.sharded else ALONE
        model = PackModel(backbone, None, read.weights or None, read.label_words, kept=kept, gang=holders)
        model.shards = backbone.shards  # nothing trains it now
        self._gang.at("the test of the untrained module")

        def given(some: Sequence[None], rows: int) -> list[Answers]:
            return answers(model, data.test, rows, self._gang)

        mine = scoring.fit([None], given, let_go=model.let_go, gang=self._gang, sharded=backbone.sharded)
        (scores,) = graded(gathered(mine, self._gang), data.test, secondary=False)
        return scores.answered
