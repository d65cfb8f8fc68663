"""What fine-tuning makes a model forget, and what helps: writes docs/forgetting.md and docs/forgetting.svg.

    make forgetting EMOJI=emoji CLOTHING=clothing        (about three quarters of an hour on two cores)

A small model is pre-trained on drawings of characters and of emoji with their names, then fine-tuned on photographs of
clothes in eight ways. Judged is what it gained, the kind of clothes by zero-shot classification, and what it kept, the
emoji as another artist draws them. `EMOJI` holds the folders ``noto`` and ``emojitwo``, each with pictures and a
``metadata.jsonl`` of ``file_name``, ``text`` and ``concept``; `CLOTHING` the folders ``train`` and ``validation`` of a
folder of photographs for each kind.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot

from benchmarks.runs import OUTCOMES, Job, default_parallel, mean_and_deviation, run_all
from evaluation import paired_bootstrap
from evaluation.changes import half_of

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = ("a photo of a {}", "a picture of a {}", "{}", "clothes: {}")
IMAGE_SIZE = 64
NUM_EMOJI_COPIES = 16
"""How often an emoji's drawing stands beside the glyphs."""
GLYPHS_EVERY = 4
"""One glyph in so many is learnt from."""
MODEL = {
    "image": {
        "config": {"model_type": "convnext", "hidden_sizes": [32, 64, 128, 192], "depths": [1, 1, 2, 1]},
        "image_size": IMAGE_SIZE,
        "pooling": "mean",
    },
    "text": {
        "config": {
            "model_type": "clip_text_model",
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 2,
            "num_attention_heads": 8,
            "max_position_embeddings": 32,
            "hidden_act": "gelu",
        },
        "tokenizer": "glyphs",
        "max_length": 32,
    },
    "embedding_dim": 192,
}
PRETRAINING = {"batch_size": 128, "max_steps": 1200, "lr": 2e-3, "weight_decay": 0.2}
FINE_TUNING = {"batch_size": 128, "max_steps": 150, "lr": 5e-4, "weight_decay": 0.1}
WAYS: dict[str, dict[str, Any]] = {
    "full": {},
    "LoRA": {"tuning": {"image": "lora", "text": "lora", "lora": {"rank": 8, "alpha": 16}}, "lr": 2e-3},
    "LiT (image tower locked)": {"tuning": {"image": "locked"}},
    "layer-wise rates (0.5)": {"tuning": {"layer_decay": 0.5}},
    "L2-SP": {"tuning": {"l2_sp": 20.0}, "weight_decay": 0.0},
    "distillation from the start": {"objectives": ["clip", {"type": "distillation", "teacher": None, "weight": 1.0}]},
    "replay": {"batch_size": 2 * FINE_TUNING["batch_size"]},
    "WiSE-FT of full": {"wise_ft": None},
}
REPLAY, WISE_FT = "replay", "WiSE-FT of full"
REPORTED = 1
"""The half of the examples that took no part in choosing alpha; every way is judged by it."""


def write_pretraining_rows(folder: Path, emoji: Path) -> Path:
    """Save the glyphs to learn from, and the emoji of one artist several times over."""
    import datasets

    from mmcl.data.glyphs import load_glyphs

    path = folder / "pretraining"
    if not (path / "state.json").is_file():
        glyphs = load_glyphs("train").select_columns(["image", "text", "group"])
        glyphs = glyphs.select(range(0, len(glyphs), GLYPHS_EVERY))
        noto = datasets.load_dataset("imagefolder", data_dir=str(emoji / "noto"), split="train")
        noto = noto.select_columns(["image", "text", "concept"]).rename_column("concept", "group")
        noto = noto.cast(glyphs.features)
        datasets.concatenate_datasets([glyphs, *[noto] * NUM_EMOJI_COPIES]).save_to_disk(path)
    return path


def write_clothes(folder: Path, clothing: Path, split: str) -> Path:
    """Save the photographs with their kind as label, and the kind in every template as captions."""
    import datasets

    path = folder / f"clothes-{split}"
    if not (path / "state.json").is_file():
        files = sorted((clothing / split).glob("*/*"))
        rows = {
            "image": [str(file) for file in files],
            "text": [[template.format(file.parent.name) for template in TEMPLATES] for file in files],
            "label": [file.parent.name for file in files],
        }
        datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image()).save_to_disk(path)
    return path


def judges(folder: Path, emoji: Path, clothing: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is gained, and what is kept."""
    target = {
        "task": "zeroshot_classification",
        "name": "clothes",
        "data": {"path": str(write_clothes(folder, clothing, "validation")), "format": "saved"},
        "columns": {"image": "image", "text": False, "group": False, "label": "label"},
        "templates": list(TEMPLATES),
    }
    guard = {
        "task": "retrieval",
        "name": "emoji",
        "data": str(emoji / "emojitwo"),
        "columns": {"image": "image", "text": "text", "group": "concept", "label": False},
    }
    return target, guard


def pretraining(folder: Path, emoji: Path, clothing: Path) -> Job:
    """The run that all others start from."""
    target, guard = judges(folder, emoji, clothing)
    overrides = {
        "model": MODEL,
        "data.train": {"path": str(write_pretraining_rows(folder, emoji)), "format": "saved"},
        "data.validation": 0,
        "data.columns": {"image": "image", "text": "text", "group": "group", "label": False},
        "data.image_views": [
            {
                "random_resized_crop": [0.7, 1.0],
                "affine": {"degrees": 8, "translate": 0.05, "scale": [0.8, 1.1], "shear": 8},
                "color_jitter": [0.2, 0.2, 0.2, 0.05],
                "grayscale": 0.1,
            }
        ],
        **PRETRAINING,
        "evaluate": [target, guard],
    }
    return Job("pretrained", "quickstart", overrides, keeps_outcomes=True, keeps_model=True)


def fine_tuning(folder: Path, emoji: Path, clothing: Path, way: str, seed: int) -> Job:
    """One way to fine-tune, by one seed; full fine-tuning is followed by the interpolations."""
    target, guard = judges(folder, emoji, clothing)
    train: Any = {"path": str(write_clothes(folder, clothing, "train")), "format": "saved"}
    columns = {"image": "image", "text": "text", "group": "label", "label": False}
    if way == REPLAY:  # as many clothes in a batch as otherwise, and as many rows of the pre-training again
        old = {"path": str(write_pretraining_rows(folder, emoji)), "format": "saved", "weight": 1, "replay": True}
        train = [{**train, "weight": 1}, {**old, "columns": {**columns, "group": "group"}}]
    overrides = {
        "model": str(folder / "pretrained"),
        "data": {
            "train": train,
            "validation": 0,
            "columns": columns,
            "image_views": [{"random_resized_crop": [0.6, 1.0], "horizontal_flip": 0.5}],
            "num_workers": 0,
        },
        **FINE_TUNING,
        "seed": seed,
        "evaluate": [target],
        "guard": [guard],
        "wise_ft": [],
        **WAYS[way],
    }
    return Job(f"{way.split()[0].lower()}-{seed}", "clip/finetune", overrides, keeps_outcomes=True)


@dataclass(frozen=True)
class Judged:
    """Outcomes of one task, 0 or 1 an example, one row a run, and the examples' groups."""

    outcomes: np.ndarray
    groups: np.ndarray | None

    def cell(self) -> str:
        """Mean and deviation over runs, in percent."""
        values = (100 * self.outcomes.mean(axis=1)).tolist()
        mean, deviation = mean_and_deviation(values)
        return f"{mean:.1f} ± {deviation:.1f}" if len(values) > 1 else f"{mean:.1f}"

    def difference(self, before: Judged) -> str:
        """How much more than before, of the same examples averaged over runs, with a paired interval."""
        found = paired_bootstrap(self.outcomes.mean(axis=0), before.outcomes.mean(axis=0), self.groups)
        low, high = found.interval.low, found.interval.high
        return f"{100 * found.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def judged(folder: Path, jobs: Sequence[Job]) -> tuple[Judged, Judged, Judged]:
    """Return what runs gained, and what they kept from pictures to names and back, on the reported half."""
    runs = [np.load(folder / job.name / OUTCOMES) for job in jobs]
    parts = []
    for task, ranks, group in (
        ("clothes-zeroshot_classification", "rank", "group"),
        ("emoji-retrieval", "text_retrieval_rank", "image_group"),
        ("emoji-retrieval", "image_retrieval_rank", "text_group"),
    ):
        groups = runs[0].get(f"{task}/{group}")
        rows = np.array([run[f"{task}/{ranks}"] == 1 for run in runs], dtype=np.float64)
        kept = half_of(rows.shape[1], groups, REPORTED)
        parts.append(Judged(rows[:, kept], None if groups is None else groups[kept]))
    return parts[0], parts[1], parts[2]


def sweep_of(folder: Path, jobs: Sequence[Job]) -> dict[float, tuple[float, float]]:
    """Return the interpolations' means over seeds: what is kept and what is gained, in percent, by alpha."""
    records = [json.loads((folder / job.name / "wise_ft.json").read_text(encoding="utf-8")) for job in jobs]
    points: dict[float, list[tuple[float, float]]] = {}
    for record in records:
        for point in record["points"]:
            points.setdefault(point["alpha"], []).append((100 * point["guard"], 100 * point["target"]))
    return {alpha: tuple(np.mean(values, axis=0)) for alpha, values in points.items()}  # type: ignore[misc]


def draw(found: dict[str, tuple[Judged, Judged, Judged]], sweep: dict[float, tuple[float, float]], path: Path) -> None:
    """Draw what was gained against what was kept, as SVG."""
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "forgetting"  # else no two drawings of the same are equal
    figure, axes = pyplot.subplots(figsize=(8.6, 4.2))
    kept, gained = zip(*sweep.values(), strict=True)
    axes.plot(kept, gained, color="0.7", zorder=0, label="between before and full, by tenths")
    for way, (target, *guards) in found.items():
        x = 100 * np.mean([guard.outcomes.mean(axis=1) for guard in guards], axis=0)
        y = 100 * target.outcomes.mean(axis=1)
        axes.errorbar(x.mean(), y.mean(), y.std(), x.std(), marker="o", capsize=3, label=way)
    axes.set_xlabel("kept: emoji by another artist, recall at 1, mean of both directions, percent")
    axes.set_ylabel("gained: kinds of clothes, zero-shot accuracy, percent")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1.0))
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emoji", type=Path, required=True)
    parser.add_argument("--clothing", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "forgetting")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--parallel", type=int, default=default_parallel())
    arguments = parser.parse_args()
    folder, data = arguments.output, (arguments.emoji.resolve(), arguments.clothing.resolve())
    folder.mkdir(parents=True, exist_ok=True)
    start = pretraining(folder, *data)
    run_all([start], folder, 1)
    jobs = {way: [fine_tuning(folder, *data, way, seed) for seed in range(arguments.seeds)] for way in WAYS}
    run_all([one for several in jobs.values() for one in several], folder, arguments.parallel)
    before = judged(folder, [start])
    found = {way: judged(folder, several) for way, several in jobs.items()}
    lines = ["| | gained: clothes | | kept: emoji | |", "|---|---:|---:|---:|---:|"]
    lines.append(f"| before | {before[0].cell()} | | {before[1].cell()} | |")
    for way, (target, guard, _) in found.items():
        cells = (target.cell(), target.difference(before[0]), guard.cell(), guard.difference(before[1]))
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    print("\n".join(lines))
    draw({"before": before, **found}, sweep_of(folder, jobs[WISE_FT]), ROOT / "docs" / "forgetting.svg")
    page = (ROOT / "benchmarks" / "forgetting.md.in").read_text(encoding="utf-8")
    filled = page.replace("{{seeds}}", str(arguments.seeds)).replace("{{table}}", "\n".join(lines))
    (ROOT / "docs" / "forgetting.md").write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()
