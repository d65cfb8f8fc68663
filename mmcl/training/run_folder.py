"""The folder a run leaves behind."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcl.errors import UserError, writing


@dataclass(frozen=True)
class RunFolder:
    """``recipe.yaml``, ``metrics.jsonl``, ``quarantine.jsonl``, ``suspects.jsonl``, ``checkpoints/``, ``results/``,
    ``model/``, ``report.html``."""

    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def suspects(self) -> Path:
        return self.path / "suspects.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def results(self) -> Path:
        return self.path / "results"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add one line to ``metrics.jsonl``."""
        with self.metrics.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record, allow_nan=False) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """Read ``metrics.jsonl``; a last line torn by a crash is left out."""
        if not self.metrics.exists():
            return []
        records = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return records

    def forget_metrics_after(self, step: int) -> None:
        """Drop the lines of steps that a resumed run will do again."""
        kept = [json.dumps(record) for record in self.read_metrics() if record["step"] <= step]
        aside = self.metrics.with_suffix(".writing")
        aside.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        aside.replace(self.metrics)


def new_run_folder(parent: Path, name: str) -> RunFolder:
    """Make ``parent/name``, or the next free of ``name-2``, ``name-3`` ..."""
    with writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            path = parent / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
            else:
                return RunFolder(path)


def run_folder_at(path: Path) -> RunFolder:
    """Make a run's folder at exactly ``path``.

    Raises:
        UserError: when something is there already; nothing of it is touched.
    """
    check_is_free(path)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return RunFolder(path)


def check_is_free(path: Path) -> None:
    """Refuse a path where something is.

    Raises:
        UserError: saying what.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        held = "another run" if (path / "recipe.yaml").exists() else "something else"
        raise UserError(f"{path} already holds {held}; give another --output, or --resume to go on with a run")


def newest_run_folder(parent: Path, name: str) -> RunFolder:
    """Find the latest of ``name``, ``name-2`` ... under ``parent``.

    Raises:
        UserError: when there is none.
    """
    pattern = re.compile(re.escape(name) + r"(?:-(\d+))?")
    found = []
    for path in parent.glob(f"{name}*"):
        match = pattern.fullmatch(path.name)
        if match and (path / "recipe.yaml").is_file():
            found.append((int(match[1] or 1), path))
    if not found:
        raise UserError(f"nothing to resume: no run {name} in {parent}")
    return RunFolder(max(found)[1])
