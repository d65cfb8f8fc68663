"""What the README and the guides hold that can be tried: commands with their output, code, recipes, links.

The convention: what stands in a ``console`` block behind ``$`` is run, and the lines below it are its output, where
``...`` stands for anything; a ``python`` block is run; a ``yaml`` block is a recipe, and one whose first line is
``# NAME.yaml`` is there as a file for the blocks of its document. An ``sh`` block is only parsed: to run, it needs a
network, several machines, or make.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        document: its file.
        line: of the file on which its text begins, from 1.
        language: what stands behind the fence.
        text: with a line break at the end.
    """

    document: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"

    @property
    def file_name(self) -> str | None:
        """The file that a recipe says it is."""
        match = re.match(r"# (\S+\.yaml)\n", self.text)
        return match[1] if match else None


@dataclass(frozen=True)
class Command:
    """A line behind a prompt.

    Attributes:
        line: the command, without the prompt.
        output: the lines shown below it.
    """

    line: str
    output: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """What it is said to exit with."""
        return 2 if self.output and self.output[0].startswith("error: ") else 0

    def missing_from(self, printed: str) -> list[str]:
        """Return the lines that are shown and were not printed."""
        lines = [line.rstrip() for line in printed.splitlines()]
        return [shown for shown in self.output if not any(_as_pattern(shown).fullmatch(line) for line in lines)]


def _as_pattern(shown: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in shown.split("...")))


def blocks(*languages: str) -> list[Block]:
    """Return the fenced blocks in one of the languages, in the order of the documents."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            line = text[: match.start(2)].count("\n") + 1
            found.append(Block(document, line, match[1], match[2]))
    return [block for block in found if block.language in languages]


def commands(text: str) -> list[Command]:
    """Return the commands of a ``console`` block; its text begins with one."""
    found = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, *output = part.rstrip().splitlines()
        found.append(Command(line, tuple(output)))
    return found


def prose(document: Path) -> str:
    """Return a document without its fenced blocks."""
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


def code_spans(document: Path) -> list[str]:
    """Return what stands between single backticks in a document's prose."""
    return re.findall(r"`([^`\n]+)`", prose(document))


def anchors(document: Path) -> set[str]:
    """Return the names by which a link reaches the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table_below(document: Path, heading: str) -> list[tuple[str, ...]]:
    """Return the rows, without the head, of the first table below a heading; cells without their backticks."""
    section = prose(document).split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [tuple(cell.strip().strip("`") for cell in row) for row in rows[1:]]
