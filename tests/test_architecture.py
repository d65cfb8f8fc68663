"""The house's rules about imports, checked on the syntax trees."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A room, and what of the project it must not import.
FORBIDDEN = {
    "evaluation": ["mmcl"],
    "mmcl/losses": ["mmcl", "evaluation", "transformers", "numpy"],
    "mmcl/towers": ["mmcl.objectives", "mmcl.module", "mmcl.training", "mmcl.cli", "mmcl.export", "evaluation"],
    "mmcl/data": ["mmcl.objectives.clip", "mmcl.module", "mmcl.training", "mmcl.cli", "mmcl.export", "evaluation"],
    "mmcl/objectives": ["mmcl.module", "mmcl.training", "mmcl.cli", "mmcl.export", "mmcl.data", "evaluation"],
    "mmcl/model.py": ["mmcl.objectives", "mmcl.module", "mmcl.training", "mmcl.cli", "evaluation"],
    "mmcl/module.py": ["mmcl.training", "mmcl.cli", "mmcl.export", "mmcl.data", "evaluation"],
    "mmcl/training": ["mmcl.cli"],
    "mmcl/export": ["mmcl.training", "mmcl.cli", "mmcl.module", "mmcl.objectives"],
    "mmcl/vectors": ["mmcl.training", "mmcl.cli", "mmcl.module", "mmcl.objectives", "mmcl.export"],
    "mmcl/interpolation.py": ["mmcl.training", "mmcl.cli", "mmcl.module", "mmcl.objectives", "mmcl.export"],
}
ALLOWED = {"mmcl/losses": ["mmcl.losses"]}
COLLECTIVES = {"all_reduce", "all_gather", "all_gather_into_tensor", "reduce_scatter_tensor", "broadcast", "barrier"}


def python_files(room: str) -> list[Path]:
    place = ROOT / room
    return [place] if place.suffix == ".py" else sorted(place.rglob("*.py"))


def imports_of(file: Path) -> set[str]:
    """Every module imported at run time; what stands under TYPE_CHECKING is for the type checker alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def is_inside(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports_point_one_way(room: str) -> None:
    files = python_files(room)
    assert files
    wrong = [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in files
        for module in imports_of(file)
        if any(is_inside(module, package) for package in FORBIDDEN[room])
        and not any(is_inside(module, package) for package in ALLOWED.get(room, []))
    ]
    assert wrong == []


def test_only_one_file_calls_a_collective() -> None:
    wrong = []
    for file in python_files("mmcl"):
        if file == ROOT / "mmcl/distributed.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
                continue
            if node.attr in COLLECTIVES and node.value.id in {"dist", "torch"}:
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno} {node.attr}")
    assert wrong == []


def test_only_the_command_line_prints() -> None:
    wrong = []
    for file in [*python_files("mmcl"), *python_files("evaluation")]:
        if file.is_relative_to(ROOT / "mmcl/cli"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert wrong == []


def test_tokenizers_holds_no_python() -> None:
    assert list((ROOT / "tokenizers").rglob("*.py")) == []


def test_modules_are_short() -> None:
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines())
        for room in ("mmcl", "evaluation", "benchmarks", "tests")
        for file in python_files(room)
    }
    assert {name: length for name, length in lengths.items() if length > 400} == {}


@pytest.mark.parametrize("module", ["mmcl", "mmcl.recipe", "mmcl.cli.main", "evaluation"])
def test_does_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
