"""``pro-ros``: one sub-command per file of this package.

Exit codes: 0 done; 1 a defect of pro_ros; 2 wrong usage or configuration; 3 wrong data; 4 wrong
checkpoint; 5 too little data for what was asked; 6 writing failed; 130 interrupted (Ctrl-C);
143 told to end (SIGTERM).
"""

from __future__ import annotations

import errno
import signal
import sys
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup

from pro_ros.cli import cell, contract, demo, evaluate, import_, inspect, replay, train
from pro_ros.cli.console import err, fail
from pro_ros.errors import DataError, ProError, StorageError

INTERRUPTED = 130
TERMINATED = 143

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class Commands(TyperGroup):
    """The sub-commands; whatever ends one early becomes one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """See ``typer``."""
        try:
            return super().invoke(ctx)
        except ProError as error:
            fail(error)
            raise typer.Exit(error.exit_code) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            # What no reader or writer foresaw, such as a full /tmp: still no defect.
            foreseen = _environment(error)
            fail(foreseen)
            raise typer.Exit(foreseen.exit_code) from error
        except KeyboardInterrupt as interrupt:
            err.print("interrupted: nothing was left half-written", highlight=False)
            raise typer.Exit(INTERRUPTED) from interrupt


def _environment(error: OSError) -> ProError:
    """One line for a failure of the operating system."""
    kind = StorageError if error.errno in _FULL else DataError
    named = [str(name) for name in (error.filename, error.filename2) if name is not None]
    where = f"{' -> '.join(named)}: " if named else ""
    return kind(f"{where}{error.strerror or type(error).__name__}")


app = typer.Typer(
    name="pro-ros",
    cls=Commands,
    help="The Process-Reward Operator: a learned critic beside a robot policy.",
    no_args_is_help=True,
    # Joins the lines of a paragraph, so that it is wrapped to the terminal.
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# The modules are light to import: what is heavy they import when they run.
app.command("import")(import_.command)
app.command("inspect")(inspect.command)
app.command("train")(train.command)
app.command("evaluate")(evaluate.command)
app.command("replay")(replay.command)
app.command("demo")(demo.command)
app.command("contract")(contract.command)
app.add_typer(cell.app, name="cell")


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _terminate)
    app(prog_name="pro-ros")


def _terminate(number: int, frame: FrameType | None) -> None:
    """End by way of an exception, so that nothing half-written is left."""
    sys.exit(TERMINATED)


if __name__ == "__main__":
    main()
