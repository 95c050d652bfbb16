"""The processes of a gang, wherever they run: what a supervisor needs of them."""

from __future__ import annotations

from typing import Protocol


class Ranks(Protocol):
    """The processes of one gang, numbered from 0."""

    @property
    def host(self) -> str:
        """Name or address by which the others reach the first one."""

    @property
    def local(self) -> bool:
        """Whether all are on one machine."""

    def send(self, text: str, rank: int | None = None) -> None:
        """Lines for a rank's standard input, None: for every rank's.

        Never waits for a rank; one that is gone hears nothing, and :meth:`events` says that it is gone.
        """

    def events(self, wait_s: float) -> list[tuple[int, str | None]]:
        """What ranks have said since the last call, as (rank, line) in order; None, once, for a process that is gone.

        Args:
            wait_s: at most, for the first one.
        """

    def last_words(self, rank: int) -> str:
        """The last lines that a rank has written to its standard error.

        Of one that is gone a last line says how it ended: ``killed by SIGKILL``.
        """

    def kill(self) -> None:
        """End all at once, whatever they do; when it returns nothing of them is left. More calls do nothing."""


class Launcher(Protocol):
    """Where ranks run."""

    def start(self, ranks: int, device: str) -> Ranks:
        """Start so many processes of ``python -m workers.gang.rank``.

        Args:
            ranks: how many.
            device: cpu: they see no card; cuda: each sees one, its own.

        Raises:
            ApetError: they can't be here.
            InfrastructureError: they can't be now.
        """
