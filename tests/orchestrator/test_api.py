"""The functions behind the commands, as a notebook imports them."""

from __future__ import annotations

import inspect
import pkgutil
from pathlib import Path

import pytest
from shell import stored

import orchestrator
import orchestrator.api

COMMANDS = (
    *("convergence", "dispersion", "export", "plan", "query", "report", "resubmit", "run", "show", "status"),
    *("thresholds", "transfer"),
)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_computes_is_a_function(name: str) -> None:
    function = getattr(orchestrator, name)
    assert inspect.isfunction(function)
    assert function.__name__ == name
    assert name in orchestrator.__all__


def test_no_module_hides_a_function() -> None:
    """Importing ``orchestrator.query`` would put the module where the function of that name was."""
    modules = {module.name for module in pkgutil.iter_modules(orchestrator.__path__)}
    assert modules >= {"results", "analysis", "planning"}
    assert not modules & set(orchestrator.__all__)
    assert set(orchestrator.__all__) == set(COMMANDS) == set(orchestrator.api.__all__)


def test_sql_status_and_a_trial_in_a_notebook(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    assert orchestrator.query(store, "select count(*) as n from attempts").to_pylist() == [{"n": 3}]
    assert orchestrator.status(store).total.failed == 1
    assert orchestrator.show(trials[0].trial_id, store).trial == trials[0]
