"""Nothing in ``workers/pack`` looks at a tensor that trains: under ZeRO there would be nothing to see."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

ENGINES_ALONE = {"grad", "data_ptr", "requires_grad", "requires_grad_", "copy_", "clip_grad_norm_", "param_groups"}
PLACE = ROOT / "workers" / "pack"


def looks(source: str) -> Iterator[str]:
    """Where a source reads a gradient, changes a tensor in place or reads the ``.data`` of a tensor."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            ours = ast.unparse(node.value) in ("self", "self.pack.sources")  # a task's rows, and where they are
            if node.attr in ENGINES_ALONE or (node.attr == "data" and not ours):
                yield f"line {node.lineno}: .{node.attr}"


@pytest.mark.parametrize("path", sorted(PLACE.glob("*.py")), ids=lambda path: path.name)
def test_no_gradient_and_no_value_is_read_but_by_the_engine(path: Path) -> None:
    assert list(looks(path.read_text())) == []


@pytest.mark.parametrize(
    "source", ["p.grad.norm()", "p.data.add_(1)", "theta.copy_(best)", "torch.nn.utils.clip_grad_norm_(ps, 1)"]
)
def test_the_rule_itself_finds_what_it_is_for(source: str) -> None:
    assert list(looks(source))
    assert not list(looks("self.data.train; job.engine.values(0)"))
