"""Accuracy against the share of labels: SupCon, semi-supervised, cross-entropy and SimCLR; writes docs/labels.md.

    make labels        (about a quarter of an hour on two cores)

Handwritten digits, of which 1%, 10% or all have a label. SupCon and cross-entropy learn from the labelled pictures
alone, the semi-supervised recipe from all, SimCLR from all without looking at a label. Everything is judged alike: a
linear probe on frozen features that sees the same labels and no others.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot
from matplotlib.ticker import FixedLocator, NullLocator

from benchmarks.runs import Job, default_parallel, mean_and_deviation, run_all

ROOT = Path(__file__).resolve().parents[1]
SHARES = (0.01, 0.1, 1.0)
METHODS = {
    "SupCon": "supcon",
    "Semi-supervised": "semi_supervised",
    "Cross-entropy": "supervised",
    "SimCLR (no labels)": "simclr",
}
ON_LABELLED_ALONE = ("supcon", "supervised")
NUM_STEPS = 400
BATCH_SIZE = 128
C = 100.0
"""Inverse weight decay of the probe: as for `few_label`, one label of a class leaves none to choose it with."""


def percent(share: float) -> str:
    """Return ``1%`` for 0.01."""
    return f"{100 * share:g}%"


def write_rows(folder: Path, share: float, seed: int) -> tuple[Path, Path]:
    """Save the training digits with the labels of a share of each class, one at least, and those rows alone."""
    from mmcl.data.digits import load_digits

    paths = folder / f"{name_of(share)}-{seed}-all", folder / f"{name_of(share)}-{seed}-labelled"
    if not all((path / "state.json").is_file() for path in paths):
        rows = load_digits("train")
        drawn: set[int] = set()
        for name in sorted(set(rows["label"])):
            of_class = [number for number, label in enumerate(rows["label"]) if label == name]
            of_class.sort(key=lambda number: hashlib.sha256(f"{seed} {number}".encode()).digest())
            drawn.update(of_class[: max(1, round(share * len(of_class)))])
        known = [label if number in drawn else None for number, label in enumerate(rows["label"])]
        rows.remove_columns("label").add_column("label", known).save_to_disk(paths[0])  # type: ignore[call-arg]
        rows.select(sorted(drawn)).save_to_disk(paths[1])
    return paths


def jobs_of(folder: Path, seeds: Sequence[int]) -> dict[tuple[str, float, int], Job]:
    """Return the runs by method, share and seed; SimCLR's are the same for all shares."""
    jobs = {}
    for seed in seeds:
        rows = {share: write_rows(folder, share, seed) for share in SHARES}
        for recipe in METHODS.values():
            for share, (whole, labelled) in rows.items():
                train = labelled if recipe in ON_LABELLED_ALONE else whole
                size = len_of(train)
                changed: dict[str, Any] = {
                    "seed": seed,
                    "max_steps": NUM_STEPS,
                    "batch_size": min(BATCH_SIZE, size),
                    "data.train": {"path": str(train), "format": "saved"},
                    "evaluate": [judge(share, labelled)],
                }
                name = f"{recipe}-{percent(share)}-{seed}"
                if recipe == "simclr":
                    name = f"{recipe}-{seed}"
                    changed["data.train"] = {"path": str(rows[1.0][0]), "format": "saved"}
                    changed["evaluate"] = [judge(one, rows[one][1]) for one in SHARES]
                jobs[recipe, share, seed] = Job(name, f"vision/{recipe}", changed)
    return jobs


def len_of(path: Path) -> int:
    """Return the number of rows of a saved data set."""
    import datasets

    return len(datasets.load_from_disk(str(path)))


def judge(share: float, labelled: Path) -> dict[str, Any]:
    """The linear probe that sees these labels."""
    return {
        "task": "linear_probe",
        "name": name_of(share),
        "train": {"path": str(labelled), "format": "saved"},
        "data": {"path": "digits", "split": "test"},
        "columns": {"image": "image", "text": False, "group": False, "label": "label"},
        "c_grid": [C],
    }


def name_of(share: float) -> str:
    """What results call the judgement by a share of the labels."""
    return f"labels{round(100 * share)}"


def draw(found: dict[str, dict[float, tuple[float, float]]], path: Path) -> None:
    """Draw mean and standard deviation of every method against the share of labels, as SVG."""
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "labels"  # else no two drawings of the same are equal
    figure, axes = pyplot.subplots(figsize=(6.4, 4))
    for method, by_share in found.items():
        means, deviations = zip(*by_share.values(), strict=True)
        style = "--" if method == "SimCLR (no labels)" else "-"
        axes.errorbar(
            [100 * share for share in by_share], means, deviations, label=method, marker="o", capsize=3, ls=style
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([100 * share for share in SHARES]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([percent(share) for share in SHARES])
    axes.set_xlabel("training digits with a label")
    axes.set_ylabel("accuracy of a linear probe, percent")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "labels")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--parallel", type=int, default=default_parallel())
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    jobs = jobs_of(arguments.output, range(arguments.seeds))
    metrics = run_all(list({job.name: job for job in jobs.values()}.values()), arguments.output, arguments.parallel)
    found: dict[str, dict[float, tuple[float, float]]] = {}
    lines = ["| | " + " | ".join(map(percent, SHARES)) + " |", "|---|" + "---:|" * len(SHARES)]
    for method, recipe in METHODS.items():
        found[method] = {
            share: mean_and_deviation(
                [
                    100 * metrics[jobs[recipe, share, seed].name][f"{name_of(share)}-linear_probe/acc1"]
                    for seed in range(arguments.seeds)
                ]
            )
            for share in SHARES
        }
        cells = [f"{mean:.1f} ± {deviation:.1f}" for mean, deviation in found[method].values()]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    print("\n".join(lines))
    draw(found, ROOT / "docs" / "labels.svg")
    page = (ROOT / "benchmarks" / "labels.md.in").read_text(encoding="utf-8")
    filled = page.replace("{{seeds}}", str(arguments.seeds)).replace("{{table}}", "\n".join(lines))
    (ROOT / "docs" / "labels.md").write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()
