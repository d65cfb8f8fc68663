"""The package stands alone and is light to import."""

from __future__ import annotations

import subprocess
import sys

import evaluation


def test_importing_loads_neither_torch_nor_mmcl_nor_plotting() -> None:
    code = (
        "import sys, evaluation;"
        "heavy = {'torch', 'mmcl', 'matplotlib', 'sklearn', 'jinja2', 'transformers'} & set(sys.modules);"
        "print(*sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_public_name_exists() -> None:
    assert all(hasattr(evaluation, name) for name in evaluation.__all__)
