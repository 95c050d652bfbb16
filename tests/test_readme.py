"""The pages: their links lead somewhere, their commands are real, their examples are valid."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

import pytest
import typer.main
from paths import ROOT

from orchestrator.cli import app
from trials.store.record import SCHEMA
from trials.sweep.sweep import Sweep

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND: Any = typer.main.get_command(app)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def check_command(words: list[str], complete: bool = True) -> None:
    """Parse an ``apet`` command line as the program would, without running it.

    A mention in running text need not be ``complete``: its command and options are real, arguments may be missing.
    """
    context = COMMAND.make_context("apet", words, resilient_parsing=True)
    remaining = [*context._protected_args, *context.args]
    if not remaining:  # apet --help
        return
    chosen = COMMAND.get_command(context, remaining[0])
    assert chosen is not None, f"apet {remaining[0]}: no such command"
    if remaining[1:] and (below := getattr(chosen, "commands", {}).get(remaining[1])) is not None:
        chosen, remaining = below, remaining[1:]  # apet weights fetch
    known = {option for param in chosen.params for option in param.opts} | {"--help"}
    options = [word.partition("=")[0] for word in remaining[1:] if re.match(r"--?[a-z]", word)]
    assert set(options) <= known, f"{shlex.join(words)}: no such option; {sorted(known)}"
    with chosen.make_context(remaining[0], remaining[1:], parent=context, resilient_parsing=not complete):
        pass


def check_target(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"make {target}: no such target"


def blocks(page: Path) -> list[list[str]]:
    """The command lines in the code blocks of a page, as words."""
    text = page.read_text()
    return commands(line for kind, body in BLOCK.findall(text) if kind in ("sh", "") for line in body.splitlines())


def mentions(page: Path) -> list[list[str]]:
    """The commands between backticks, as words."""
    return commands(re.findall(r"`([^`\n]+)`", BLOCK.sub("", page.read_text())))


def commands(lines: Iterable[str]) -> list[list[str]]:
    split = [shlex.split(line, comments=True) for line in lines if re.match(r"(\w+=\S+ )*(apet|make) ", line)]
    bare = [list(dropwhile(lambda word: "=" in word, words)) for words in split]
    return [list(takewhile(lambda word: word not in (">", "|", "&&"), words)) for words in bare]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_exist(page: Path) -> None:
    relative = [link.partition("#")[0] for link in LINK.findall(page.read_text()) if not link.startswith("http")]
    missing = [link for link in relative if link and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_are_real(page: Path) -> None:
    for lines, complete in ((blocks(page), True), (mentions(page), False)):
        for program, *words in lines:
            if program == "apet":
                check_command(words, complete)
            else:
                check_target(words[0])


def test_the_readme_shows_every_command() -> None:
    lines = blocks(ROOT / "README.md")
    assert ["make", "quickstart"] in lines
    assert {words[1] for words in lines if words[0] == "apet"} >= set(COMMAND.commands) - {"backbones"}


@pytest.mark.parametrize(
    "wrong", [["plna", "quickstart"], ["run", "quickstart", "--stroe", "x"], ["show"], ["weights", "fetch"]]
)
def test_wrong_commands_are_noticed(wrong: list[str]) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|missing"):
        check_command(wrong)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_sweeps_in_the_pages_are_valid(page: Path) -> None:
    for kind, body in BLOCK.findall(page.read_text()):
        if kind == "yaml":
            assert Sweep.parse(body, where=page.name).trials()


def test_the_tree_has_every_folder_and_no_other() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text().partition("## The tree")[2]
    [tree] = [body for kind, body in BLOCK.findall(page)[:1] if not kind]
    above: list[str] = []
    named = []
    for indent, folder in re.findall(r"^( *)([\w/]+)/ ", tree, re.MULTILINE):
        above[len(indent) // 2 :] = [folder]
        named.append("/".join(above))
    packages = [path for package in ("trials", "workers", "orchestrator") for path in (ROOT / package).rglob("*.py")]
    there = {str(path.parent.relative_to(ROOT)) for path in packages} | {"trials/tokenizers", "tests", "clusters"}
    assert sorted(named) == sorted(there)


def test_the_store_page_names_every_column() -> None:
    page = (ROOT / "docs" / "store.md").read_text()
    named = set(re.findall(r"`(\w+)`", page.partition("## Columns")[2]))
    assert set(SCHEMA.names) <= named


def test_every_dependency_earns_a_line() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    table = page.partition("## Dependencies")[2]
    assert not [one for one in _dependencies() if one not in table]


def test_constraints_hold_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines if not line.startswith("#")}
    assert {re.split(r"\[", one)[0].lower() for one in _dependencies()} <= pinned


def _dependencies() -> list[str]:
    """Names with the extras asked of them, without our own extras and without versions."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [one for group in project["optional-dependencies"].values() for one in group]
    names = [re.split(r"[=<>~]", one)[0] for one in [*project["dependencies"], *extras]]
    return [name for name in names if not name.startswith("apet[")]
