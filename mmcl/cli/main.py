"""The command line: its commands, its exit codes, and how a mistake is said.

To add a command: write it in a file of its own, importing what is heavy inside the function, and register it below in
one line.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from mmcl import __version__
from mmcl.cli import compare, data, embed, evaluate, export, init, merge, mine, push, recipes, tokenizer, train
from mmcl.errors import RunError, RunStopped, UserError

EXIT_FAILED = 1
EXIT_USER_MISTAKE = 2
EXIT_INTERRUPTED = 130

# click's UsageError, which typer does not name; some versions of typer bring a click of their own.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)
app.command()(init.init)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(compare.compare)
app.command()(embed.embed)
app.command()(merge.merge)
app.command()(export.export)
app.command()(push.push)
app.add_typer(recipes.app, name="recipes")
data.app.command()(mine.mine)
app.add_typer(data.app, name="data")
app.add_typer(tokenizer.app, name="tokenizer")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"mmcl {__version__}")
        raise typer.Exit


@app.callback()
def mmcl(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train, fine-tune and judge CLIP-style models."""


def run() -> None:
    """Run the command line and exit with its code."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: the command line without the program's name.

    Returns:
        0 when all went well, 1 for a run that could not go on, 2 for a mistake in what was given, 130 after Ctrl-C,
        143 after SIGTERM.
    """
    try:
        code = app(list(arguments), prog_name="mmcl", standalone_mode=False)
    except RunStopped as stop:
        _say(str(stop))
        return stop.exit_code
    except RunError as error:
        _say(str(error), "error: ")
        return EXIT_FAILED
    except typer.Abort:  # the end of the input, where a command asked for some; Ctrl-C comes back as a code
        _say("interrupted")
        return EXIT_INTERRUPTED
    except _UsageError as error:
        return _say_usage(error)
    except ValueError as error:
        if not _is_users_mistake(error):
            raise
        _say(str(error), "error: ")
        return EXIT_USER_MISTAKE
    return code if isinstance(code, int) else 0


def _is_users_mistake(error: ValueError) -> bool:
    # Who raised an EvaluationError has imported it; importing it here would import numpy for every command.
    evaluation_errors = sys.modules.get("evaluation.errors")
    return isinstance(error, UserError) or (
        evaluation_errors is not None and isinstance(error, evaluation_errors.EvaluationError)
    )


def _say_usage(error: Exception) -> int:
    """Say what is wrong with a command line; return the exit code."""
    message: str = error.format_message()  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    if not message:  # nothing was given, which has printed the help
        return 0
    _say(f"{message}\nsee: {context.command_path} --help" if context else message, "error: ")
    return EXIT_USER_MISTAKE


def _say(message: str, prefix: str = "") -> None:
    """Print to stderr as it stands: a path is not wrapped, nor square brackets taken for markup."""
    from rich.console import Console
    from rich.text import Text

    text = Text.assemble((prefix, "bold red"), message)
    Console(stderr=True, soft_wrap=True, highlight=False).print(text)
