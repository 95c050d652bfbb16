"""The command line: a thin layer over typed functions.

Results go to stdout, progress and logs to stderr. Exit codes: 0 success, 1 the sweep has failed trials,
2 wrong usage or input, 128 and a signal's number where one ended it: 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
Commands import what they need when they run, so that ``apet --help`` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from orchestrator.commands import (
    analyses,
    builtin,
    clusters,
    refining,
    resubmit,
    results,
    standing,
    submit,
    weights,
    work,
)
from trials.errors import ApetError

EVERYWHERE = ("-v", "-vv", "--verbose", "-q", "--quiet")


@dataclass(frozen=True)
class Level:
    """How much is said on stderr: 0 is normal."""

    verbose: int = 0
    quiet: bool = False


class Apet(TyperGroup):
    """The group of all commands: turns errors that a user can act on into a message and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept -v and -q behind the command as well as before it."""
        options, separator, rest = args, [], []
        if "--" in args:
            cut = args.index("--")
            options, separator, rest = args[:cut], ["--"], args[cut + 1 :]
        front = [a for a in options if a in EVERYWHERE]
        return super().parse_args(ctx, [*front, *(a for a in options if a not in front), *separator, *rest])

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            typer.Exit: with the code that the module's docstring promises.
        """
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except typer.BadParameter as error:
            error.message = _with_value(error)
            raise
        except ApetError as error:
            typer.echo(f"apet: {error}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.echo("apet: interrupted; what finished is kept, the same command goes on from there", err=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:  # the reader of our pipe has seen enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None


def _with_value(error: typer.BadParameter) -> str:
    """Typer's message with the value that is wrong: pydantic's words, which newer ones pass on, leave it out."""
    from pydantic import ValidationError

    if not isinstance(error.__cause__, ValidationError):
        return error.message
    value = error.__cause__.errors()[0]["input"]
    return error.message.removeprefix("Value error, ").replace("Input should", f"{value!r} should")


app = typer.Typer(
    name="apet",
    cls=Apet,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (work, submit, standing, resubmit, results, analyses, refining, builtin, weights, clusters):
    module.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"apet {version('apet')}")
        raise typer.Exit


@app.callback(
    epilog="SWEEP is a file or the name of a built-in sweep; begin with: apet sweeps, apet plan quickstart. "
    "-v and -q may stand behind the command too."
)
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more on stderr; -vv: debug.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.")] = False,
) -> None:
    """Studies of parameter-efficient tuning over model scale, tunable-parameter count and position."""
    context.obj = Level(verbose, quiet)
    level = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


def main() -> None:
    """The entry point ``apet``."""
    app(prog_name="apet")
