"""The quickstart's model, the same untrained, and words guessed from pixels: writes docs/compare-models.md and .html.

    make compare-models EMOJI=emoji CLOTHING=clothing        (about six minutes on two cores)

All three are judged on glyphs, handwritten digits, emoji and photographs of clothes, by words and, where there are
classes, by what a linear probe and nearest neighbours make of their embeddings. `EMOJI` holds the folder ``noto`` of
pictures with a ``metadata.jsonl`` of ``file_name``, ``text`` and ``concept``; `CLOTHING` the folders ``train`` and
``validation`` of a folder of photographs for each kind.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

import mmcl
from benchmarks.runs import Job, run_all
from evaluation import BagOfWordsRidge, RawPixels, RetrievalTask, TaskResult, write_report
from evaluation.embedder import Embedder
from evaluation.report.standings import contests, standings
from mmcl.data.glyphs import load_glyphs
from mmcl.embedder import ModelEmbedder
from mmcl.recipe_files import load_recipe
from mmcl.training.judge import build_tasks, judge

ROOT = Path(__file__).resolve().parents[1]
PIXELS = RawPixels(side=24, mode="L")
ALPHAS = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
C_GRID = [0.1, 1, 10, 100]
"""Inverse weight decays of the linear probes to choose from, without those that take minutes to fit."""
HELD_OUT = 8
"""One character in so many of those learnt from chooses the ridge's alpha."""


def tasks_of(emoji: Path, clothing: Path) -> list[dict[str, Any]]:
    """What the models are judged by, as a recipe has it."""
    unseen = {"path": "glyphs", "split": "unseen_characters"}
    digits = {"name": "digits", "columns": {"label": "label"}}
    clothes = {"name": "clothes", "columns": {"label": "label"}, "data": str(clothing / "validation")}
    names = {"image": "image", "text": "text", "group": "concept", "label": False}
    of_digits = {"train": {"path": "digits", "split": "train"}, "data": {"path": "digits", "split": "test"}}
    return [
        {"task": "retrieval", "name": "glyphs", "data": unseen},
        {"task": "zeroshot_classification", "name": "glyphs", "data": unseen, "templates": ["{}", "{} letter"]},
        {"task": "zeroshot_classification", "data": "digits", "templates": ["digit {}"], **digits},
        {"task": "linear_probe", "c_grid": C_GRID, **of_digits, **digits},
        {"task": "knn", **of_digits, **digits},
        {"task": "retrieval", "name": "emoji", "data": str(emoji / "noto"), "columns": names},
        {"task": "zeroshot_classification", "templates": ["{}"], **clothes},
        {"task": "linear_probe", "c_grid": C_GRID, "train": str(clothing / "train"), **clothes},
        {"task": "knn", "train": str(clothing / "train"), **clothes},
    ]


def trained(folder: Path) -> ModelEmbedder:
    """Train the quickstart's model, or open it where that is done."""
    run_all([Job("quickstart", "quickstart", keeps_model=True)], folder, 1)
    return ModelEmbedder(mmcl.load(folder / "quickstart").model, "quickstart")


def ridge() -> tuple[BagOfWordsRidge, float]:
    """Fit the ridge to all drawings that the quickstart learns from, alpha chosen on characters held out of them."""
    glyphs = load_glyphs("train")
    rows = list(zip(glyphs["image"], glyphs["text"], glyphs["group"], strict=True))
    held_out = {group for group in glyphs["group"] if is_held_out(group)}
    seen, unseen = [row for row in rows if row[2] not in held_out], [row for row in rows if row[2] in held_out]
    numbers = {group: number for number, group in enumerate(sorted(held_out))}
    task = RetrievalTask.from_captions(
        [image for image, _, _ in unseen],
        [[text] for _, text, _ in unseen],
        groups=[numbers[group] for _, _, group in unseen],
        dataset="held-out characters",
    )
    found = {alpha: task.evaluate(fitted(seen, alpha)).metrics["text_retrieval_recall@1"] or 0.0 for alpha in ALPHAS}
    alpha = max(found, key=lambda alpha: found[alpha])
    return fitted(rows, alpha), alpha


def is_held_out(group: str) -> bool:
    """Whether a character chooses alpha, by its hash."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") % HELD_OUT == 0


def fitted(rows: Sequence[tuple[Image.Image, str, str]], alpha: float) -> BagOfWordsRidge:
    """Return the ridge of some drawings."""
    return BagOfWordsRidge([image for image, _, _ in rows], [text for _, text, _ in rows], PIXELS, alpha)


def judged(models: Sequence[Embedder], tasks: list[dict[str, Any]]) -> list[TaskResult]:
    """Judge every model by every task."""
    recipe = load_recipe("quickstart", {"evaluate": tasks})
    built = build_tasks(recipe.evaluate, recipe.data.columns, tell=print)
    found = []
    for model in models:
        found += judge(model, built)
        print(model.name, flush=True)
    return found


def table_of(results: Sequence[TaskResult]) -> list[str]:
    """The rows of the table in markdown, percents; the best in bold, with a sign those not told apart from it."""
    found = contests(results)
    models, rows = standings(found)
    lines = [
        "| data | task | metric | " + " | ".join(models) + " | chance |",
        "|---|---|---|" + "---:|" * (len(models) + 1),
    ]
    for row in rows:
        cells = []
        for cell in row.cells:
            value = {"best": f"**{cell.value}**", "tied": f"≈ {cell.value}"}.get(cell.mark, cell.value)
            cells.append(f"{value} {cell.interval}")
        first = found[row.contest].results[0]
        task = first.task.replace("_", " ")
        lines.append(f"| {first.dataset} | {task} | `{row.metric}` | " + " | ".join(cells) + f" | {row.chance} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emoji", type=Path, required=True)
    parser.add_argument("--clothing", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "compare-models")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    model = trained(arguments.output)
    baseline, alpha = ridge()
    tasks = tasks_of(arguments.emoji.resolve(), arguments.clothing.resolve())
    results = judged([model, model.untrained(), baseline], tasks)
    write_report(ROOT / "docs" / "compare-models.html", "Three models compared", results)
    lines = table_of(results)
    print("\n".join(lines))
    page = (ROOT / "benchmarks" / "compare-models.md.in").read_text(encoding="utf-8")
    for name, value in {"table": "\n".join(lines), "alpha": f"{alpha:g}"}.items():
        page = page.replace("{{" + name + "}}", value)
    (ROOT / "docs" / "compare-models.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
