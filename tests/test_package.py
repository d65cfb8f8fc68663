"""What ``import mmcl`` gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import mmcl
from mmcl.errors import UserError


def test_importing_it_imports_nothing_heavy():
    code = "import sys, mmcl; print([m for m in ('torch', 'pydantic', 'yaml', 'evaluation') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_there_is_no_other_name():
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        mmcl.lode  # noqa: B018


@pytest.fixture
def runs(monkeypatch):
    """Stand in for the training, and keep what it is asked for."""
    calls = []
    module = ModuleType("mmcl.training.run")

    def run_recipe(recipe, **options):
        calls.append((recipe, options))
        if recipe.data.columns.text:
            raise UserError('data.columns.text: no column "titel"')
        return "a run"

    module.run_recipe = run_recipe
    monkeypatch.setitem(sys.modules, "mmcl.training.run", module)
    return calls


def test_train_takes_overrides_by_name(runs):
    run = mmcl.train("clip/finetune", data=Path("x.csv"), lr=1e-3, output=Path("out"), **{"model.temperature": 0.1})
    ((recipe, options),) = runs
    assert run == "a run"
    assert (recipe.data.train.path, recipe.lr, recipe.model.temperature) == ("x.csv", 1e-3, 0.1)
    assert options == {"resume": False, "output": "out"}


def test_train_tells_where_a_mistake_was_given(runs):
    with pytest.raises(UserError) as caught:
        mmcl.train("clip/finetune", data="x.csv", **{"data.columns.text": "titel"})
    assert str(caught.value) == 'override data.columns.text=titel: no column "titel"'
