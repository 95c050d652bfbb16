"""The direction of imports: trials <- workers <- orchestrator, and who may import what is heavy."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

PACKAGES = ("trials", "workers", "orchestrator")  # a package imports itself and those before it
HEAVY = {"torch", "ray", "transformers", "deepspeed", "datasets"}
LONGEST = 300  # lines of a file


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(tree: ast.AST, where: Path) -> Iterator[tuple[str, int]]:
    """Every absolute module name in an import statement, functions and TYPE_CHECKING included, and its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{where}:{node.lineno}: relative import; name the package"
            yield node.module or "", node.lineno


def wrong(package: str, name: str, inside_ray: bool) -> str | None:
    """Why a module of ``package`` may not import ``name``; None when it may."""
    top = name.partition(".")[0]
    if top in PACKAGES and PACKAGES.index(top) > PACKAGES.index(package):
        return f"{package} never imports {top}"
    if package == "trials" and top in HEAVY:
        return "trials has no torch, ray, transformers, deepspeed or datasets"
    if top == "ray" and not inside_ray:
        return "only orchestrator/driver/ray imports ray"
    return None


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str) -> None:
    found = []
    for path in sources(package):
        inside_ray = path.is_relative_to(ROOT / "orchestrator" / "driver" / "ray")
        for name, line in imported(ast.parse(path.read_text()), path):
            if reason := wrong(package, name, inside_ray):
                found.append(f"{path.relative_to(ROOT)}:{line}: imports {name}: {reason}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("package", "name", "inside_ray"),
    [
        ("trials", "workers.pack.loop", False),
        ("workers", "orchestrator.cli", False),
        ("trials", "torch.nn", False),
        ("workers", "ray", False),
        ("orchestrator", "ray.tune", False),
    ],
)
def test_the_rule_itself_refuses(package: str, name: str, inside_ray: bool) -> None:
    assert wrong(package, name, inside_ray)
    assert not wrong("orchestrator", "ray.tune", True)
    assert not wrong("orchestrator", "trials.trial", False)


def dependencies() -> dict[str, set[str]]:
    """Which modules of ours each module imports, in functions and for type checkers too."""
    paths = {module_name(p): p for package in PACKAGES for p in sources(package)}
    found: dict[str, set[str]] = {}
    for name, path in paths.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= inner & paths.keys() or {node.module}
        found[name] = names & paths.keys()
    return found


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Modules that lead back to themselves, each as the way round; what is found once isn't looked at again."""
    done: set[str] = set()
    found: list[list[str]] = []

    def walk(node: str, way: list[str]) -> None:
        if node in way:
            found.append([*way[way.index(node) :], node])
        elif node not in done:
            for other in sorted(graph[node]):
                walk(other, [*way, node])
            done.add(node)

    for node in sorted(graph):
        walk(node, [])
    return found


def test_no_import_leads_back_to_where_it_came_from() -> None:
    assert not circles(dependencies()), "\n".join(" -> ".join(way) for way in circles(dependencies()))
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]]


def loaded_by(statement: str) -> set[str]:
    """The heavy modules that a fresh interpreter holds after one statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(m.partition('.')[0] for m in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return HEAVY & set(json.loads(done.stdout))


@pytest.mark.parametrize("package", ["trials", "orchestrator"])
def test_importing_loads_nothing_heavy(package: str) -> None:
    every = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in sources("trials")]
    names = (
        [n.removesuffix(".__init__") for n in every] if package == "trials" else ["orchestrator", "orchestrator.cli"]
    )
    assert loaded_by("import " + ", ".join(names)) == set()


def test_files_stay_short() -> None:
    tests = sorted((ROOT / "tests").rglob("*.py")) + sorted((ROOT / "benchmarks").rglob("*.py"))
    lengths = {p: len(p.read_text().splitlines()) for package in PACKAGES for p in sources(package)}
    lengths |= {p: len(p.read_text().splitlines()) for p in tests}
    long = [f"{p.relative_to(ROOT)}: {n} lines, at most {LONGEST}" for p, n in lengths.items() if n > LONGEST]
    assert not long, "\n".join(long)


def test_an_operation_has_a_file_in_both_packages() -> None:
    trials, workers = (
        {p.stem for p in (ROOT / package / "modules" / "operations").glob("*.py")} - {"__init__"}
        for package in ("trials", "workers")
    )
    assert trials == workers
    assert trials
