"""Are the rules right? Curves with known thresholds, and scales with known spreads, judged by them and by simpler ones.

    .venv/bin/python benchmarks/statistics.py --jobs 2                      # 20 000 curves a cell: an hour
    .venv/bin/python benchmarks/statistics.py --curves 500 --studies 500    # a quick look

Every cell is a kind of study: how many counts, seeds, test rows and full runs there are, what the seeds' luck and the
rows' look like, and where the truth lies. Answers are drawn row by row and judged by the functions that `apet
thresholds` calls; studies of two scales likewise, by those of `apet dispersion`. Prints a table a threshold and one of
spreads, and one line of JSON at the end. The parts are in `simulated/`.
"""

from __future__ import annotations

if __name__ == "__main__":
    from simulated.run import main

    main()
else:  # whoever runs a script of this folder finds it before Python's own module of this name, which is meant
    import importlib.util
    import sys
    import sysconfig
    from pathlib import Path

    spec = importlib.util.spec_from_file_location(__name__, Path(sysconfig.get_path("stdlib"), "statistics.py"))
    assert spec is not None
    assert spec.loader is not None
    sys.modules[__name__] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[__name__])
