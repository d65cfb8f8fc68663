from __future__ import annotations

import ast
from pathlib import Path

import mmcl.losses


def test_every_loss_can_be_imported_from_the_package() -> None:
    folder = Path(mmcl.losses.__file__).parent
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in folder.glob("*.py")]
    functions = {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}
    losses = {name for name in functions if name.endswith("_loss") and not name.startswith("_")}
    assert len(losses) > 15
    assert losses <= set(mmcl.losses.__all__)
    assert all(callable(getattr(mmcl.losses, name)) for name in mmcl.losses.__all__)
