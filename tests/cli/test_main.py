"""The command line as a whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mmcl
from evaluation.errors import EvaluationError
from mmcl.cli.main import main
from mmcl.errors import RunError, RunStopped, UserError

LONG = "/a" * 100 + "/[bold]file[/bold] name.csv: 'x' 12 [/]"


@pytest.fixture
def failing(monkeypatch, capsys):
    """Run a command that raises; return exit code, stdout and stderr."""

    def run(error: BaseException) -> tuple[int, str, str]:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr("mmcl.recipe_files.load_recipe", fail)
        code = main(["recipes", "validate", "x"])
        return (code, *capsys.readouterr())

    return run


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mmcl {mmcl.__version__}\n"


@pytest.mark.parametrize("error", [UserError(LONG), EvaluationError(LONG)])
def test_a_users_mistake_is_one_message_as_it_stands_and_exit_code_2(failing, error):
    assert failing(error) == (2, "", f"error: {LONG}\n")


def test_a_message_of_several_lines_stays_so(failing):
    assert failing(UserError("a\n  b")) == (2, "", "error: a\n  b\n")


def test_a_run_that_cannot_go_on_exits_with_1(failing):
    assert failing(RunError("loss is nan")) == (1, "", "error: loss is nan\n")


def test_a_stopped_run_says_how_to_go_on(failing):
    code, _, err = failing(RunStopped(15, Path("runs/x/checkpoints/3")))
    assert code == 143
    assert "go on with --resume" in err


def test_ctrl_c_exits_with_130(failing):
    code, out, err = failing(KeyboardInterrupt())
    assert (code, out) == (130, "")
    assert "Traceback" not in err


def test_the_end_of_the_input_exits_with_130(failing):
    code, _, err = failing(EOFError())
    assert code == 130
    assert err.split() == ["interrupted"]


@pytest.mark.parametrize("error", [ValueError("ours"), RuntimeError("ours")])
def test_our_own_mistakes_keep_their_traceback(failing, error):
    with pytest.raises(type(error), match="ours"):
        failing(error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recipez"], "Did you mean 'recipes'?\nsee: mmcl --help"),
        (["recipes", "lisst"], "Did you mean 'list'?\nsee: mmcl recipes --help"),
        (["recipes", "show"], "Missing argument 'RECIPE'.\nsee: mmcl recipes show --help"),
        (["--nothing"], "--nothing"),
    ],
)
def test_a_mistyped_command_is_one_message_and_exit_code_2(arguments, message, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("error: ")
    assert "\u256d" not in err


@pytest.mark.parametrize("arguments", [[], ["recipes"]])
def test_nothing_at_all_prints_the_help(arguments, capsys):
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "Usage: mmcl" in out
    assert "error" not in err


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONSAFEPATH": ""}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment)


HEAVY = ("torch", "transformers", "datasets", "accelerate", "numpy", "sklearn", "matplotlib", "pydantic", "evaluation")


def test_help_imports_nothing_heavy(tmp_path):
    code = (
        f"import sys\nfrom mmcl.cli.main import main\nmain(['--help'])\nprint([m for m in {HEAVY} if m in sys.modules])"
    )
    done = python("-c", code, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_recipes_are_handled_without_torch(tmp_path):
    code = "import sys\nfrom mmcl.cli.main import main\nmain(['recipes', 'validate', 'clip/finetune', 'data=x'])\n"
    done = python("-c", f"{code}print('torch' in sys.modules, 'transformers' in sys.modules)", cwd=tmp_path)
    said, imported = done.stdout.splitlines()
    assert said.startswith("clip/finetune is valid"), done.stderr
    assert imported == "False False"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell, tmp_path):
    environment = {**os.environ, "_MMCL_COMPLETE": f"complete_{shell}", "COMP_WORDS": "mmcl reci", "COMP_CWORD": "1"}
    environment["_TYPER_COMPLETE_ARGS"] = "mmcl reci"
    environment["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    code = "from mmcl.cli.main import run; run()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert "recipes" in done.stdout
