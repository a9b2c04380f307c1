"""``pro-ros``: one sub-command per file of this package.

Exit codes: 0 done; 1 a defect of pro_ros; 2 wrong usage or configuration; 3 wrong data; 4 wrong
checkpoint; 5 too little data for what was asked; 6 writing failed; 130 interrupted.
"""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from pro_ros.errors import ProError

app = typer.Typer(
    name="pro-ros",
    help="The Process-Reward Operator: a learned critic beside a robot policy.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def register() -> None:
    """Add the sub-commands; their imports are light, the heavy ones happen when they run."""
    from pro_ros.cli import contract, demo, evaluate, import_, inspect, replay, train

    for name, command in (
        ("import", import_.command),
        ("inspect", inspect.command),
        ("train", train.command),
        ("evaluate", evaluate.command),
        ("replay", replay.command),
        ("demo", demo.command),
        ("contract", contract.command),
    ):
        app.command(name)(command)


def main() -> None:
    """Run the command line; a :class:`ProError` becomes one line and its exit code."""
    register()
    try:
        app()
    except ProError as error:
        Console(stderr=True, soft_wrap=True).print("error:", str(error), markup=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted: nothing was left half-written", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
