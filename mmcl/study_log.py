"""What a study has done already, so that a second call goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcl.errors import writing

LOG_FILE = "done.jsonl"


class StudyLog:
    """One line for each result of a study: its file, and the sums of everything it follows from, none once forgotten.

    A line that a killed call has left torn is passed over.

    Args:
        folder: of the study.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._done: dict[str, Mapping[str, str]] = {}
        path = folder / LOG_FILE
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        for line in lines:
            record = _record(line)
            if record is not None:
                self._done[record["file"]] = record["follows_from"]
        self._done = {file: follows_from for file, follows_from in self._done.items() if follows_from}

    def __bool__(self) -> bool:
        return bool(self._done)

    def files(self) -> list[str]:
        """Return the files of all results that are there, those of earlier calls too."""
        return [file for file in self._done if (self.folder / file).is_file()]

    def changes(self, file: str, follows_from: Mapping[str, str]) -> list[str] | None:
        """Return the names of the sums that differ from those the result was made from; None where it is not there."""
        before = self._done.get(file)
        if before is None or not (self.folder / file).is_file():
            return None
        return [name for name in dict.fromkeys([*follows_from, *before]) if before.get(name) != follows_from.get(name)]

    def add(self, file: str, follows_from: Mapping[str, str]) -> None:
        """Write down that a result is there.

        Raises:
            UserError: the folder cannot be written.
        """
        self._write(file, follows_from)
        self._done[file] = follows_from

    def forget(self, file: str) -> None:
        """Write down that a result is not there, before another takes its place: a file cannot tell which it is.

        Raises:
            UserError: the folder cannot be written.
        """
        if self._done.pop(file, None) is not None:
            self._write(file, {})

    def _write(self, file: str, follows_from: Mapping[str, str]) -> None:
        line = json.dumps({"file": file, "follows_from": dict(follows_from)})
        with writing(self.folder), (self.folder / LOG_FILE).open("a", encoding="utf-8") as log:
            # Behind a torn line the new one stands by itself.
            log.write(f"\n{line}\n")


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
        return record if isinstance(record["file"], str) and isinstance(record["follows_from"], dict) else None
    except (ValueError, KeyError, TypeError):
        return None
