"""``python -m mmcl``."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONSAFEPATH", None)
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.mark.parametrize("name", ["yaml", "typer", "pydantic"])
def test_a_file_in_the_working_folder_does_not_shadow_a_library(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("raise SystemExit('the file of the user was imported')")
    done = run("-m", "mmcl", "recipes", "list", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "clip/finetune" in done.stdout


@pytest.mark.parametrize("name", ["evaluation", "datasets"])
def test_a_file_in_the_working_folder_does_not_shadow_our_own_packages(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("raise SystemExit('the file of the user was imported')")
    code = (
        "import atexit, importlib.util, runpy, sys\n"
        f"atexit.register(lambda: print(importlib.util.find_spec({name!r}).origin))\n"
        "sys.argv = ['mmcl', '--version']\n"
        "runpy.run_module('mmcl', run_name='__main__')\n"
    )
    done = run("-c", code, cwd=tmp_path)
    found = done.stdout.splitlines()[-1]
    assert found == importlib.util.find_spec(name).origin, done.stderr


def test_in_the_repository_the_working_folder_stays_because_the_packages_are_there():
    code = (
        "import atexit, importlib.util, runpy, sys\n"
        f"sys.path = [entry for entry in sys.path if entry != {str(ROOT)!r}]\n"
        "atexit.register(lambda: print(importlib.util.find_spec('evaluation').origin))\n"
        "sys.argv = ['mmcl', '--version']\n"
        "runpy.run_module('mmcl', run_name='__main__')\n"
    )
    done = run("-c", code, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == str(ROOT / "evaluation" / "__init__.py"), done.stderr


def test_exit_codes_reach_the_shell(tmp_path):
    done = run("-m", "mmcl", "recipes", "validate", "nothing.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: no recipe nothing.yaml: there is no such file.\n"
