"""How long a type of node is waited for."""

from __future__ import annotations

from orchestrator.driver.patience import Patience


def test_a_type_of_which_nothing_runs_is_lost_after_a_while_and_waited_for_anew() -> None:
    patience = Patience(limit_s=10)
    seen = [patience.lost({"large", "small"}, {"small"}, now) for now in (0.0, 9.9, 10.0, 19.9, 20.0)]
    assert seen == [set(), set(), {"large"}, set(), set()]
    assert patience.lost({"large"}, set(), 29.9) == {"large"}


def test_a_type_of_which_a_pack_ran_was_not_waited_for_meanwhile() -> None:
    patience = Patience(limit_s=10)
    for now, running in ((0.0, set()), (8.0, {"large"}), (9.0, set())):
        assert patience.lost({"large"}, running, now) == set()
    assert patience.lost({"large"}, set(), 18.0) == set()
    assert patience.lost(set(), set(), 18.5) == set(), "nothing waits"
    assert patience.lost({"large"}, set(), 19.0) == set()
    assert patience.lost({"large"}, set(), 29.0) == {"large"}
