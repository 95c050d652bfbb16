"""The HTML report: one self-contained page, and each of its figures and tables as SVG and CSV beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.report.study import Study
    from trials.store import Store


def report(store: Store, out: Path) -> Path:
    """Draw a store's report into a folder, which is made if need be; files of the same names are replaced.

    The same rows give the same bytes. An empty store gives a page that says so.

    Returns:
        The path of ``index.html``.

    Raises:
        ApetError: there is no store, or ``out`` can't be written.
    """
    from orchestrator.report.page import page
    from orchestrator.report.sections import sections
    from orchestrator.report.study import read
    from trials.errors import ApetError

    study = read(store)
    made = [module.section(study) for module in sections()]
    files = {name: text for s in made for e in s.exhibits for name, text in e.files().items()}
    files["index.html"] = page(f"Report on {study.name}", _subtitle(study), _points(study), made)
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ApetError(
            f"can't write the report to {out} ({error.strerror}); give --out a folder that can be made"
        ) from None
    return out / "index.html"


def _subtitle(study: Study) -> str:
    if not study.cells:
        return "No results yet."
    backbones = list(dict.fromkeys(c.backbone for c in sorted(study.cells, key=lambda c: c.parameters)))
    return (
        f"{study.trials.num_rows} trials of {', '.join(backbones)} on {', '.join(study.tasks)}. Scores are "
        "test scores as fractions of 1."
    )


def _points(study: Study) -> list[str]:
    """What the thresholds say, a sentence a curve."""
    from orchestrator.analysis.table import label
    from orchestrator.report.draw import spaced

    points = []
    for found in study.thresholds.curves[:8]:
        sides = []
        for side, above in ((found.low, "leaves the floor"), (found.high, "equals full fine-tuning")):
            if side.upper is None:
                sides.append(f"where it {above} is unresolved")
            elif side.lower:
                sides.append(f"{above} between {spaced(side.lower)} and {spaced(side.upper)} tunable parameters")
            else:
                sides.append(f"{above} already at {spaced(side.upper)}, the smallest count tested")
        points.append(f"{label(found)}: {'; '.join(sides)}.")
    more = len(study.thresholds.curves) - len(points)
    return [*points, *([f"{more} more curves: see the table of thresholds."] if more else [])]
