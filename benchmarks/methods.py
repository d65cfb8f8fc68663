"""Trains every vision method on handwritten digits and on glyphs without their names, and writes docs/methods.md.

    make methods        (under an hour on two cores)

Each method is a packaged recipe (recipes/vision), run as it is on digits, and on glyphs with nothing changed but the
data. Five seeds each; what is done is kept in ``--output``, so that a call that was stopped goes on. The accuracies are
those of frozen features: weighted kNN, a linear probe, and a classifier on 5 labels per class.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.runs import Job, Metrics, default_parallel, mean_and_deviation, run_all

ROOT = Path(__file__).resolve().parents[1]
METHODS = {
    "SimCLR": "simclr",
    "MoCo v2": "moco_v2",
    "MoCo v3": "moco_v3",
    "BYOL": "byol",
    "SwAV": "swav",
    "Barlow Twins": "barlow_twins",
    "Memory bank": "memory_bank",
    "InfoNCE": "info_nce",
    "Logistic": "logistic",
    "N-pair": "n_pair",
    "Triplet": "triplet",
    "Margin": "margin",
    "SupCon": "supcon",
    "Semi-supervised": "semi_supervised",
}
"""What is called what in the table, and its recipe."""
UNTRAINED, SUPERVISED = "Untrained encoder", "Supervised"
RECIPES = {**METHODS, SUPERVISED: "supervised"}
RAW_PIXELS_SEED = 0
"""Raw pixels depend on no seed, and take long to fit: the untrained encoder of this one has them beside it."""
LABELLED = ("SupCon", "Semi-supervised", SUPERVISED)
MEASURES = {
    "kNN": "{dataset}-knn/{prefix}acc1",
    "linear probe": "{dataset}-linear_probe/{prefix}acc1",
    "5 labels per class": "{dataset}-few_label/{prefix}acc1@5_labels",
}
JUDGED_FACES = ("DejaVuSans-Oblique", "DejaVuSans-BoldOblique", "DejaVuSerif-Italic", "DejaVuSansMono")
"""The faces that a classifier of characters has to answer for; it learns from the eight others."""
NUM_CHARACTERS = 100


def write_glyphs(folder: Path) -> tuple[Path, Path, Path]:
    """Save drawings to learn from, and those of other characters to fit a classifier on and to judge it by.

    An eighth of the characters of glyphs' ``train`` are learnt from, in all faces. Classified are the first characters
    of ``unseen_characters``, in order of their hash, that are in every face.
    """
    from mmcl.data.glyph_drawing import FACES
    from mmcl.data.glyphs import load_glyphs

    names = ("glyphs-train", "glyphs-known-faces", "glyphs-other-faces")
    paths = folder / names[0], folder / names[1], folder / names[2]
    if all((path / "state.json").is_file() for path in paths):
        return paths
    train = load_glyphs("train").filter(lambda character: _digest(character) % 8 == 0, input_columns="character")
    unseen = load_glyphs("unseen_characters")
    counts = Counter(unseen["character"])
    complete = sorted((one for one, count in counts.items() if count == len(FACES)), key=_digest)[:NUM_CHARACTERS]
    unseen = unseen.filter(lambda character: character in complete, input_columns="character")
    known = unseen.filter(lambda face: face not in JUDGED_FACES, input_columns="face")
    other = unseen.filter(lambda face: face in JUDGED_FACES, input_columns="face")
    for rows, path in zip((train, known, other), paths, strict=True):
        rows.save_to_disk(path)
    return paths


def _digest(character: str) -> int:
    return int.from_bytes(hashlib.sha256(f"methods {character}".encode()).digest()[:8], "big")


def judges(name: str, train: dict[str, Any], test: dict[str, Any], columns: dict[str, Any]) -> list[dict[str, Any]]:
    """The three judges on rows that are not learnt from."""
    tasks = ("knn", "linear_probe", "few_label")
    rows = {"name": name, "train": train, "data": test, "columns": columns}
    return [{"task": task, **rows} for task in tasks]


def overrides_of(dataset: str, folder: Path) -> dict[str, Any]:
    """What of a recipe is changed for a data set."""
    if dataset == "digits":
        train, test = {"path": "digits", "split": "train"}, {"path": "digits", "split": "test"}
        columns = {"image": "image", "text": False, "group": False, "label": "label"}
        return {"evaluate": judges(dataset, train, test, columns)}
    train, known, other = ({"path": str(path), "format": "saved"} for path in write_glyphs(folder))
    columns = {"image": "image", "text": False, "group": False, "label": "character"}
    return {
        "data.train": train,
        "data.columns.label": "character",
        "max_steps": 400,
        "evaluate": judges(dataset, known, other, columns),
    }


def jobs_of(dataset: str, folder: Path, seeds: Sequence[int]) -> Iterator[tuple[str, Job]]:
    """Yield each method's runs with the method's name."""
    changed = overrides_of(dataset, folder)
    for method, recipe in RECIPES.items():
        for seed in seeds:
            yield method, Job(f"{dataset}-{recipe}-{seed}", f"vision/{recipe}", {**changed, "seed": seed})
    for seed in seeds:
        # A learning rate of nothing for one step: the encoder as it was drawn, judged like all others.
        untrained = {**changed, "seed": seed, "max_steps": 1, "lr": 1e-30, "weight_decay": 0.0}
        if seed == RAW_PIXELS_SEED:
            untrained["evaluate"] = [{**judge, "baselines": True} for judge in changed["evaluate"]]
        yield UNTRAINED, Job(f"{dataset}-untrained-{seed}", "vision/simclr", untrained)


def values_of(runs: Sequence[Metrics], dataset: str, measure: str, prefix: str = "") -> list[float]:
    """One measure's values in percent, a run each."""
    key = MEASURES[measure].format(dataset=dataset, prefix=prefix)
    return [100 * run[key] for run in runs]


def table_of(dataset: str, found: dict[str, list[Metrics]]) -> list[str]:
    """The rows of a table in markdown."""
    lines = [f"| {dataset} | " + " | ".join(MEASURES) + " |", "|---|" + "---:|" * len(MEASURES)]
    beside = found[UNTRAINED][RAW_PIXELS_SEED : RAW_PIXELS_SEED + 1]
    pixels = [f"{values_of(beside, dataset, measure, 'raw_pixels/')[0]:.1f}" for measure in MEASURES]
    lines.append("| raw pixels | " + " | ".join(pixels) + " |")
    best = {m: mean_and_deviation(values_of(found[UNTRAINED], dataset, m)) for m in MEASURES}
    for method in (UNTRAINED, *METHODS, SUPERVISED):
        cells = []
        for measure in MEASURES:
            mean, deviation = mean_and_deviation(values_of(found[method], dataset, measure))
            beaten = method != UNTRAINED and mean - deviation > best[measure][0] + best[measure][1]
            cells.append(f"{mean:.1f} ± {deviation:.1f}" + (" *" if beaten else ""))
        label = f"{method} (labels)" if method in LABELLED else method
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "methods")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--datasets", nargs="+", default=["digits", "glyphs"], choices=["digits", "glyphs"])
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=list(RECIPES.values()),
        metavar="RECIPE",
        help="recipes of vision/ to run; all by default, which writes the page",
    )
    parser.add_argument("--parallel", type=int, default=default_parallel())
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    tables: list[str] = []
    for dataset in arguments.datasets:
        jobs = list(jobs_of(dataset, arguments.output, range(arguments.seeds)))
        if arguments.methods:
            jobs = [(method, job) for method, job in jobs if RECIPES.get(method) in arguments.methods]
        metrics = run_all([job for _, job in jobs], arguments.output, arguments.parallel)
        found: dict[str, list[Metrics]] = {}
        for method, job in jobs:
            found.setdefault(method, []).append(metrics[job.name])
        if arguments.methods:
            print(json.dumps(metrics, indent=2))
            continue
        tables += ["", *table_of(dataset, found)]
        print("\n".join(tables))
    if not arguments.methods and set(arguments.datasets) == {"digits", "glyphs"}:
        page = (ROOT / "benchmarks" / "methods.md.in").read_text(encoding="utf-8")
        filled = page.replace("{{seeds}}", str(arguments.seeds)).replace("{{tables}}", "\n".join(tables[1:]))
        (ROOT / "docs" / "methods.md").write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()
