"""The page in a browser: it draws, answers, copies, gives files, and asks nothing of a network, whatever texts say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Tab, browser
from study_rows import apet, curve, row, study, trial, write

from orchestrator.reporting.report import report
from trials.store.record import Record
from trials.trial import Method

EVIL = "</script><script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>\"'&`{{7*7}}\u2028"
BOTH = "new Promise((done) => setTimeout(() => requestAnimationFrame(() => done(true)), 60))"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("browser")) as made:
        yield made


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    rows = [
        *study(),
        *study(tasks=("mrpc",)),
        *curve({16: [0.5, 0.52, 0.51], 400: [0.6, 0.55, 0.58]}, placement="adjacent", task="mrpc"),
    ]
    return report(write(folder / "a store", rows), folder / "out")


@pytest.fixture
def shown(tab: Tab, page: Path) -> Tab:
    tab.errors.clear()
    tab.asked.clear()
    tab.open(page.as_uri())
    return tab


def figure(name: str) -> str:
    return f"document.getElementById('figure-{name}')"


def runs(name: str) -> str:
    """The dots of runs, as elements."""
    return f"[...{figure(name)}.querySelectorAll('.chart path')].filter((e) => e.__data__?.datum?.trial)"


def middle(tab: Tab, element: str) -> tuple[float, float]:
    tab.js(f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    tab.js(BOTH)
    found = tab.js(
        f"(() => {{ const b = {element}.getBoundingClientRect(); return [b.x + b.width/2, b.y + b.height/2] }})()"
    )
    return found[0], found[1]


def test_all_figures_are_drawn_and_nothing_is_asked_of_a_network(shown: Tab, page: Path) -> None:
    assert shown.errors == []
    assert shown.asked == [page.as_uri()]
    drawn = shown.js(
        "[...document.querySelectorAll('figure')].map((f) => [!!f.querySelector('.spec'), !!f.querySelector('svg')])"
    )
    assert sum(spec for spec, _ in drawn) > 8
    assert all(spec == svg for spec, svg in drawn)
    assert shown.js(f"{runs('score-mrpc')}.length") == 2 * 6 * 3 + 2 * 3
    assert shown.js(f"{figure('score-mrpc')}.textContent.includes('low')")


def test_hovering_says_what_a_run_is(shown: Tab) -> None:
    x, y = middle(shown, f"{runs('score-mrpc')}.at(-1)")
    shown.point("mouseMoved", x, y)
    shown.wait("document.querySelector('#vg-tooltip-element.visible') !== null")
    said = shown.js("document.querySelector('#vg-tooltip-element').innerText")
    for part in ("count", "score", "position seed", "train seed", "learning rate", "trial"):
        assert part in said
    assert "undefined" not in said
    assert "NaN" not in said


def clipboard(tab: Tab) -> None:
    tab.js("window.copied = []; navigator.clipboard.writeText = async (text) => { window.copied.push(text) }; 0")


def test_a_click_copies_the_command_that_shows_the_run(shown: Tab, page: Path) -> None:
    clipboard(shown)
    dot = f"{runs('score-mrpc')}.at(-1)"
    shown.click(*middle(shown, dot))
    shown.wait("window.copied.length === 1")
    trial_id = shown.js(f"{dot}.__data__.datum.trial")
    store = page.parent.parent / "a store"
    assert shown.js("window.copied[0]") == f"apet show {trial_id} --store '{store}'"
    assert "Copied: apet show" in shown.js("document.getElementById('said').textContent")


def test_what_is_no_id_is_in_no_command(shown: Tab) -> None:
    """A foreign store may call a trial what it likes; what was copied ends up in a shell."""
    clipboard(shown)
    for trial_id in ("0; true", "$(true)", "0123abc"):
        shown.js(
            f"{{ const made = document.createElement('button'); made.dataset.trial = '{trial_id}'; "
            "document.body.append(made); made.click(); made.remove() }"
        )
    shown.wait("window.copied.length")
    assert shown.js("window.copied.join()").startswith("apet show 0123abc --store")


def test_keys_go_from_run_to_run_and_copy(shown: Tab) -> None:
    clipboard(shown)
    shown.js(f"{figure('score-mrpc')}.querySelector('.chart').focus()")
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "Enter"):
        shown.key(key)
    shown.wait("window.copied.length === 1")
    said = shown.js(f"{figure('score-mrpc')}.querySelector('.readout').textContent")
    assert said.startswith(f"Run 1 of {2 * 6 * 3 + 2 * 3}: module discrete, add+concat+plug, count 16, score 0.")
    assert "undefined" not in said
    assert shown.js("window.copied[0]").startswith(
        f"apet show {shown.js(runs('score-mrpc') + '[0].__data__.datum.trial')}"
    )


@pytest.mark.parametrize("with_keys", [False, True])
def test_the_legend_filters(shown: Tab, with_keys: bool) -> None:
    entries = f"[...{figure('score-mrpc')}.querySelectorAll('.role-legend-label text')]"
    entry = f"{entries}.find((text) => text.textContent.startsWith('adjacent'))"
    faint = f"{runs('score-mrpc')}.filter((e) => +getComputedStyle(e).opacity < 0.1).length"
    assert shown.js(faint) == 0
    if with_keys:
        shown.js(f"{entry}.focus()")
        shown.key("Enter")
    else:
        shown.click(*middle(shown, entry))
    shown.wait(f"{faint} === {2 * 6 * 3}")


def test_the_axis_can_be_linear(shown: Tab) -> None:
    place = "Math.round(" + runs("score-mrpc") + ".at(0).getBoundingClientRect().x)"
    shown.js(f"{figure('score-mrpc')}.scrollIntoView({{behavior: 'instant'}})")
    before = shown.js(place)
    shown.js(f"{figure('score-mrpc')}.querySelector('.scale').click()")
    shown.wait(f"{figure('score-mrpc')}.querySelector('.scale').textContent === 'log axis'")
    shown.wait(f"{runs('score-mrpc')}.length > 0 && {place} !== {before}")
    assert shown.errors == []


def test_one_task_is_shown_and_another_can_be_chosen(shown: Tab) -> None:
    there = "f.offsetHeight && f.id.startsWith('figure-score')"
    visible = f"[...document.querySelectorAll('figure[data-choice]')].filter((f) => {there}).map((f) => f.id)"
    assert shown.js(visible) == ["figure-score-mrpc"]
    shown.js("document.querySelector('.chooser select').value = 'task-rotten_tomatoes'")
    shown.js("document.querySelector('.chooser select').dispatchEvent(new Event('change'))")
    assert shown.js(visible) == ["figure-score-rotten_tomatoes"]


@pytest.mark.parametrize("kind", ["svg", "png", "csv"])
def test_files_come_from_the_page_alone(tab: Tab, page: Path, tmp_path: Path, kind: str) -> None:
    alone = tmp_path / "alone.html"
    alone.write_bytes(page.read_bytes())
    tab.errors.clear()
    tab.open(alone.as_uri())
    tab.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    name = f"score-rotten_tomatoes.{kind}"
    tab.js(f"document.querySelector('a[download=\"{name}\"]').click()")
    until = time.monotonic() + 30
    while not (tmp_path / name).is_file():
        assert time.monotonic() < until, (list(tmp_path.iterdir()), tab.errors)
        time.sleep(0.1)
    data, beside = (tmp_path / name).read_bytes(), page.with_name(name).read_bytes()
    assert tab.errors == []
    if kind == "csv":
        assert data == beside
    else:
        assert data[:4] == {"svg": b"<svg", "png": b"\x89PNG"}[kind]
        assert b"var(--" not in data
        assert len(data) > 0.4 * len(beside)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_light_and_dark_as_the_system_has_it_and_as_chosen(tab: Tab, page: Path, theme: str) -> None:
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
    tab.open(page.as_uri())
    ground = "getComputedStyle(document.querySelector('figure')).backgroundColor"
    text = f"getComputedStyle({figure('score-mrpc')}.querySelector('svg text')).fill"
    colours = tab.js(ground), tab.js(text)
    tab.js("document.getElementById('theme').click()")
    assert tab.js("document.documentElement.dataset.theme") == ("light" if theme == "dark" else "dark")
    changed = tab.js(ground), tab.js(text)
    assert all(a != b for a, b in zip(colours, changed, strict=True))
    tab.call("Emulation.setEmulatedMedia", media="print", features=[])
    assert tab.js(ground) == "rgb(255, 255, 255)"
    assert tab.js(f"{figure('score-rotten_tomatoes')}.offsetHeight") > 0  # all tasks are printed
    tab.call("Emulation.setEmulatedMedia", media="", features=[])
    tab.js("localStorage.clear()")


def test_no_page_is_wider_than_a_phone(tab: Tab, page: Path) -> None:
    tab.call("Emulation.setDeviceMetricsOverride", width=400, height=800, deviceScaleFactor=1, mobile=True)
    tab.open(page.as_uri())
    assert tab.js("document.documentElement.scrollWidth") <= 400
    tab.call("Emulation.clearDeviceMetricsOverride")


def evil() -> list[Record]:
    """Texts that would be code, wherever a row has one."""
    rows: list[Record] = []
    for backbone in ("quickstart-l3", "quickstart-l6"):
        for task in (EVIL, "rotten_tomatoes"):
            rows += [
                {**r, "sweep": EVIL, "host": EVIL, "versions": {EVIL: EVIL}, "commit": EVIL}
                for r in study(backbones=(backbone,), tasks=(task,))
            ]
    failed = {
        "state": "failed",
        "validation_score": None,
        "failure_class": "bad_trial",
        "error_class": EVIL,
        "error_message": EVIL,
    }
    return [*rows, row(trial(Method("bitfit"), seed=9), None, **failed), row(trial(apet(17)), None, **failed)]


def test_texts_of_the_store_change_nothing_on_the_page(tab: Tab, tmp_path: Path) -> None:
    store = write(tmp_path / "store", evil())
    store.save_sweep(EVIL[:40].replace("/", "-"), f"name: {EVIL}")
    page = report(store, tmp_path / "out")
    tab.errors.clear()
    tab.asked.clear()
    tab.open(page.as_uri())
    assert tab.js("window.hurt") is None
    assert tab.errors == []
    assert tab.asked == [page.as_uri()]
    kinds: list[Any] = tab.js("[...document.scripts].map((s) => s.type)")
    assert kinds.count("") == 3
    assert tab.js("document.querySelectorAll('img').length") == 0
    assert EVIL in tab.js("document.body.textContent")
    for name in tab.js("[...document.querySelectorAll('a[download]')].map((a) => a.download)"):
        assert (page.parent / name).is_file()
        assert not set(name) & set("<>\"'&/\\ ")
