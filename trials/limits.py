"""What this release trains: a pack on the CPU or on one GPU that holds the whole of it. Gangs will lift this."""

from __future__ import annotations

from trials.errors import ApetError


def beyond(gpus: int | str = "auto", zero_stage: int | str = "auto", offload: bool | str = "auto") -> list[str]:
    """What of a sweep's ``resources`` this release can't train, each with its value and the rule.

    Args:
        gpus, zero_stage, offload: as in the file; ``auto`` is always within reach.
    """
    found = []
    if gpus not in ("auto", 0, 1):
        found.append(f"resources.gpus is {gpus}, and this release trains a pack on one GPU or none: give 0, 1 or auto")
    if zero_stage not in ("auto", 0):
        found.append(f"resources.zero_stage is {zero_stage}, and this release shares no weights: give 0 or auto")
    if offload is True:
        found.append("resources.offload is true, and this release keeps all on the device: give false or auto")
    return found


def check(gpus: int | str = "auto", zero_stage: int | str = "auto", offload: bool | str = "auto") -> None:
    """Refuse what :func:`beyond` names.

    Raises:
        ApetError: all of it, and what to do.
    """
    if found := beyond(gpus, zero_stage, offload):
        raise ApetError(
            "; ".join([*found, "`apet plan` says what a pack needs; a smaller batch or backbone needs less"])
        )
