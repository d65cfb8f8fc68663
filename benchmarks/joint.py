"""What pictures without captions and texts without pictures are worth: writes docs/joint.md.

    make joint                                   (about half an hour on two cores)
    make joint-weights                           which weights: judged by characters that are kept for that

Drawings of characters, of which 5% or 20% have their name for a caption. Image-text alone learns from those pairs;
image-text + SimCLR + SimCSE takes, in the same step, as many rows again from the drawings without a caption and from
the names alone. Both see the same number of pairs in the same number of optimiser steps. Judged on characters that
neither has seen, with intervals of the paired difference.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.runs import Job, Metrics, default_parallel, mean_and_deviation, run_all
from evaluation.statistics import PairedComparison, paired_bootstrap

ROOT = Path(__file__).resolve().parents[1]
FACES = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono")
SHARES = (0.05, 0.2)
NUM_STEPS = 400
NUM_PAIRS = 128
NUM_MORE = 128
ALONE, JOINT = "image-text", "image-text + SimCLR + SimCSE"
MEASURES = {
    "text → image, R@1": "image_retrieval_recall@1",
    "image → text, R@1": "text_retrieval_recall@1",
    "scripts, zero-shot": "acc1",
}
"""What is called what in the table, and its name in results."""
IMAGE_SIZE = 24
MODEL_ARGS = {
    "layers": [1, 1, 1, 1],
    "channels": [16, 32, 64, 128],
    "stem_type": "",
    "stem_width": 16,
    "zero_init_last": False,
    "output_stride": 16,
}
VIEW = {"affine": {"degrees": 5, "translate": 0.06, "scale": [0.85, 1.15], "shear": 8}}
WEIGHTS = (0.3, 0.1)
"""Of SimCLR and of SimCSE, those of the packaged recipe; `TRIED` are what `tune` compares."""
TRIED = ((0.1, 0.03), WEIGHTS, (1.0, 0.3))
TUNING_SEED = 100


def draw_number(*parts: object) -> float:
    """Return a number in [0, 1) that depends on ``parts`` alone."""
    return int.from_bytes(hashlib.sha256(" ".join(map(str, parts)).encode()).digest()[:6], "big") / 2**48


def write_rows(folder: Path, share: float, seed: int) -> tuple[Path, Path]:
    """Save the captioned drawings alone, and those with all other drawings and all names.

    A drawing without a caption is a group of its own: which other ones show its character is not known of it.
    """
    import datasets

    from mmcl.data.glyphs import load_glyphs

    stem = f"pairs-{round(100 * share)}-{seed}"
    paths = folder / stem, folder / f"{stem}-and-more"
    if all((path / "state.json").is_file() for path in paths):
        return paths
    drawings = load_glyphs("train").filter(
        lambda face, character: face in FACES and not is_for_tuning(character), input_columns=["face", "character"]
    )
    drawings = drawings.select_columns(["image", "text", "group", "face"])
    has_caption = [
        draw_number(share, seed, face, group) < share
        for face, group in zip(drawings["face"], drawings["group"], strict=True)
    ]
    drawings = drawings.remove_columns("face")
    pairs = drawings.select(np.flatnonzero(has_caption))
    others = drawings.select(np.flatnonzero(~np.array(has_caption))).remove_columns(["text", "group"])
    others = others.add_column("text", [None] * len(others)).cast_column("text", datasets.Value("string"))  # type: ignore[call-arg]
    others = others.add_column("group", [f"drawing {number}" for number in range(len(others))])  # type: ignore[call-arg]
    names = dict(zip(drawings["group"], drawings["text"], strict=True))
    texts = datasets.Dataset.from_dict(
        {"image": [None] * len(names), "text": list(names.values()), "group": list(names)}, features=pairs.features
    )
    pairs.save_to_disk(paths[0])
    datasets.concatenate_datasets([pairs, others.cast(pairs.features), texts]).save_to_disk(paths[1])
    return paths


def is_for_tuning(character: str) -> bool:
    """Whether a character is kept for choosing settings: one in eight of those that could be trained on."""
    return draw_number("tuning", character) < 1 / 8


def write_tests(folder: Path, *, is_tuning: bool) -> Path:
    """Save the drawings to judge by: characters that no run learns from."""
    from mmcl.data.glyphs import load_glyphs

    path = folder / ("tuning" if is_tuning else "unseen")
    if not (path / "state.json").is_file():
        rows = load_glyphs("train" if is_tuning else "unseen_characters")
        rows.filter(
            lambda face, character: face in FACES and (not is_tuning or is_for_tuning(character)),
            input_columns=["face", "character"],
        ).save_to_disk(path)
    return path


def job(
    folder: Path,
    arm: str,
    share: float,
    seed: int,
    weights: tuple[float, float] = WEIGHTS,
    *,
    is_tuning: bool = False,
) -> Job:
    """Return one run, with the weights of SimCLR and SimCSE where they take part."""
    pairs, more = write_rows(folder, share, seed)
    test = {"path": str(write_tests(folder, is_tuning=is_tuning)), "format": "saved"}
    columns = {"image": "image", "text": "text", "group": "group", "label": "script"}
    judges = [
        {"task": "retrieval", "name": "characters", "data": test, "columns": columns},
        {
            "task": "zeroshot_classification",
            "name": "scripts",
            "data": test,
            "columns": columns,
            "templates": ["{}", "{} letter"],
        },
    ]
    overrides = {
        "model.image.image_size": IMAGE_SIZE,
        "model.image.config.model_args": MODEL_ARGS,
        "model.embedding_dim": 128,
        "data.train": {"path": str(pairs), "format": "saved"},
        "data.validation": 0,
        "data.columns": {"image": "image", "text": "text", "group": "group", "label": False},
        "data.unique_groups": False,
        "data.image_views": [VIEW],
        "objectives": ["clip"],
        "batch_size": NUM_PAIRS,
        "max_steps": NUM_STEPS,
        "seed": seed,
        "evaluate": judges,
    }
    if arm == JOINT:
        overrides |= {
            "data.train": {"path": str(more), "format": "saved"},
            "data.image_views": [{**VIEW, "count": 2}],
            "data.paired_per_batch": NUM_PAIRS,
            "batch_size": NUM_PAIRS + NUM_MORE,
            "objectives": [
                {"type": "clip"},
                {
                    "type": "simclr",
                    "weight": weights[0],
                    "temperature": 0.1,
                    "head": {"num_layers": 2, "hidden_dim": 128, "output_dim": 64},
                },
                {"type": "simcse", "weight": weights[1], "temperature": 0.05},
            ],
        }
    name = f"{'joint' if arm == JOINT else 'alone'}-{round(100 * share)}-{seed}"
    if is_tuning:
        name = f"tuning-{name}-{weights[0]}-{weights[1]}"
    return Job(name, "joint/clip_simclr_simcse", overrides, keeps_outcomes=True)


def outcomes(folder: Path, jobs: Sequence[Job]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return each measure's outcomes, 0 or 1 a query and averaged over seeds, with the queries' characters."""
    runs = [np.load(folder / one.name / "outcomes.npz") for one in jobs]
    hits = {
        "text → image, R@1": [run["characters-retrieval/image_retrieval_rank"] == 1 for run in runs],
        "image → text, R@1": [run["characters-retrieval/text_retrieval_rank"] == 1 for run in runs],
        "scripts, zero-shot": [
            run["scripts-zeroshot_classification/prediction"] == run["scripts-zeroshot_classification/label"]
            for run in runs
        ],
    }
    groups = {
        "text → image, R@1": runs[0]["characters-retrieval/text_group"],
        "image → text, R@1": runs[0]["characters-retrieval/image_group"],
        "scripts, zero-shot": runs[0]["characters-retrieval/image_group"],
    }
    return {measure: (np.mean(hits[measure], axis=0), groups[measure]) for measure in MEASURES}


def compare(folder: Path, first: Sequence[Job], second: Sequence[Job]) -> dict[str, PairedComparison]:
    """Return how much more the first runs reach than the second: means over seeds, whole characters resampled."""
    ours, theirs = outcomes(folder, first), outcomes(folder, second)
    return {measure: paired_bootstrap(ours[measure][0], theirs[measure][0], ours[measure][1]) for measure in MEASURES}


def cells_of(metrics: Sequence[Metrics]) -> list[str]:
    """The cells of a row: mean and deviation over runs, in percent."""
    cells = []
    for name in MEASURES.values():
        task = "scripts-zeroshot_classification" if name == "acc1" else "characters-retrieval"
        mean, deviation = mean_and_deviation([100 * one[f"{task}/{name}"] for one in metrics])
        cells.append(f"{mean:.1f} ± {deviation:.1f}" if len(metrics) > 1 else f"{mean:.1f}")
    return cells


def tune(folder: Path, num_parallel: int) -> None:
    """Print what each pair of weights reaches on the characters that are kept for choosing, by one seed."""
    settings = [(arm, weights) for arm in (ALONE, JOINT) for weights in (TRIED if arm == JOINT else (WEIGHTS,))]
    jobs = {
        (share, arm, weights): job(folder, arm, share, TUNING_SEED, weights, is_tuning=True)
        for share in SHARES
        for arm, weights in settings
    }
    metrics = run_all(list(jobs.values()), folder, num_parallel)
    for (share, arm, weights), one in jobs.items():
        label = arm if arm == ALONE else f"{arm}, weights {weights[0]:g} and {weights[1]:g}"
        print(f"| {share:.0%} | {label} | " + " | ".join(cells_of([metrics[one.name]])) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "joint")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--parallel", type=int, default=default_parallel())
    parser.add_argument("--tune", action="store_true", help="choose the weights; writes no page")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.tune:
        tune(arguments.output, arguments.parallel)
        return
    jobs = {
        (arm, share): [job(arguments.output, arm, share, seed) for seed in range(arguments.seeds)]
        for share in SHARES
        for arm in (ALONE, JOINT)
    }
    metrics = run_all([one for several in jobs.values() for one in several], arguments.output, arguments.parallel)
    lines = ["| captions | | " + " | ".join(MEASURES) + " |", "|---|---|" + "---:|" * len(MEASURES)]
    for share in SHARES:
        for arm in (ALONE, JOINT):
            cells = cells_of([metrics[one.name] for one in jobs[arm, share]])
            lines.append(f"| {share:.0%} | {arm} | " + " | ".join(cells) + " |")
        found = compare(arguments.output, jobs[JOINT, share], jobs[ALONE, share])
        cells = [
            f"{100 * one.difference:+.1f} [{100 * one.interval.low:+.1f}, {100 * one.interval.high:+.1f}]"
            for one in found.values()
        ]
        lines.append(f"| {share:.0%} | difference | " + " | ".join(cells) + " |")
    print("\n".join(lines))
    page = (ROOT / "benchmarks" / "joint.md.in").read_text(encoding="utf-8")
    filled = page.replace("{{seeds}}", str(arguments.seeds)).replace("{{table}}", "\n".join(lines))
    (ROOT / "docs" / "joint.md").write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()
