"""Sentence encoders from scratch, judged by semantic textual similarity in two languages; writes docs/sts.md.

    make sentences TEXT=text        (under 40 minutes on two cores)

A small text tower is drawn at random and trained in three steps: unsupervised SimCSE on plain sentences, supervised
SimCSE on what follows from what, CoSENT on graded pairs. Judged is the Spearman correlation of cosine and human score
on STS-B dev, in English and in Chinese, beside bags of words, TF-IDF, means of skip-gram vectors and the tower as it
was drawn. `TEXT` holds ``sentences/tatoeba-en.txt``, ``sentences/tatoeba-zh-en.csv``, ``nli/sick-train.csv``, and
``sts/stsb-{en,zh}-{train,dev}.csv`` without a line of names. What is done is kept in ``--output``, so that a call that
was stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.runs import OUTCOMES, Job, default_parallel, mean_and_deviation, run_all
from evaluation import TFIDF, BagOfWords
from evaluation.metrics import spearman
from evaluation.statistics import bootstrap
from evaluation.tasks.task import embed_texts

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES = {"English": "en", "Chinese": "zh"}
TOWER = {
    "config": {
        "model_type": "modernbert",
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "embedding_dropout": 0.1,
        "attention_dropout": 0.1,
        "mlp_dropout": 0.1,
    },
    "tokenizer": "zh-en",
    "pooling": "max",
    "max_length": 64,
}
SIMCSE = {"batch_size": 128, "max_steps": 200, "lr": 2e-4, "warmup_ratio": 0.05}
NLI = {"model.text.max_length": 64, "batch_size": 64, "micro_batch_size": None, "epochs": 10, "lr": 5e-4}
GRADED = {"epochs": 3, "lr": 5e-4}
SKIP_GRAMS = {"epochs": 4}
STEPS = ("simcse", "nli", "graded")
UNTRAINED, SKIP_GRAM = "untrained", "skip_gram"
ROWS = {
    UNTRAINED: "the tower as it was drawn",
    SKIP_GRAM: "mean of skip-gram vectors",
    "simcse": "unsupervised SimCSE",
    "nli": "and supervised SimCSE",
    "graded": "and graded pairs (CoSENT)",
}
BASELINES = {"bag of words": BagOfWords, "TF-IDF": TFIDF}
RESAMPLES = 1000
Judged = dict[str, NDArray[np.float64]]
"""Cosines of STS-B dev by language, ``(seeds, pairs)``."""


def write_entailments(folder: Path, text: Path) -> Path:
    """Write the pairs of which the second sentence follows from the first, as csv of anchor and positive."""
    path = folder / "entailments.csv"
    with (text / "nli" / "sick-train.csv").open(encoding="utf-8", newline="") as file:
        pairs = [(row["sentence_a"], row["sentence_b"]) for row in csv.DictReader(file) if row["label"] == "entailment"]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("anchor", "positive"), *pairs])
    return path


def sentences_of(text: Path) -> list[dict[str, Any]]:
    """The plain sentences of both languages."""
    return [
        {"path": str(text / "sentences" / "tatoeba-en.txt")},
        {"path": str(text / "sentences" / "tatoeba-zh-en.csv"), "columns": {"text": "zh"}},
    ]


def graded_pairs_of(text: Path) -> list[dict[str, Any]]:
    """The graded pairs of both languages, and those of SICK."""
    names = ["anchor", "positive", "score"]
    sick = {"anchor": "sentence_a", "positive": "sentence_b", "score": "relatedness", "label": False}
    return [
        *({"path": str(text / "sts" / f"stsb-{code}-train.csv"), "column_names": names} for code in LANGUAGES.values()),
        {"path": str(text / "nli" / "sick-train.csv"), "columns": sick},
    ]


def judges_of(text: Path) -> list[dict[str, Any]]:
    """STS-B dev in both languages."""
    return [
        {
            "task": "sts",
            "name": code,
            "data": {
                "path": str(text / "sts" / f"stsb-{code}-dev.csv"),
                "column_names": ["anchor", "positive", "score"],
            },
        }
        for code in LANGUAGES.values()
    ]


def jobs_of(step: str, folder: Path, text: Path, seeds: Sequence[int]) -> list[Job]:
    """Return the runs of a step, one for each seed; each goes on from the step before it."""
    shared: dict[str, Any] = {"evaluate": judges_of(text)}
    if step in ("simcse", UNTRAINED):
        shared |= {"model.text": TOWER, "data.train": sentences_of(text), **SIMCSE}
    elif step == SKIP_GRAM:
        shared |= {"model.text.tokenizer": "zh-en", "data.train": sentences_of(text), **SKIP_GRAMS}
    elif step == "nli":
        shared |= {"data.train": str(write_entailments(folder, text)), **NLI}
    else:
        shared |= {"data.train": graded_pairs_of(text), **GRADED}
    if step == UNTRAINED:
        # A learning rate of nothing for one step: the tower as it was drawn, judged like all others.
        shared |= {"max_steps": 1, "lr": 1e-30}
    recipe = {"simcse": "simcse", UNTRAINED: "simcse", SKIP_GRAM: "skip_gram", "nli": "pairs", "graded": "cosent"}[step]
    jobs = []
    for seed in seeds:
        changed = {**shared, "seed": seed}
        if step in STEPS[1:]:
            changed["model.text.name"] = str(folder / f"{STEPS[STEPS.index(step) - 1]}-{seed}")
        jobs.append(Job(f"{step}-{seed}", f"text/{recipe}", changed, keeps_outcomes=True, keeps_model=True))
    return jobs


def read_judged(folder: Path, jobs: Sequence[Job]) -> Judged:
    """Return the cosines that runs gave to the pairs of STS-B dev."""
    runs = [np.load(folder / job.name / OUTCOMES) for job in jobs]
    return {code: np.stack([run[f"{code}-sts/cosine"] for run in runs]) for code in LANGUAGES.values()}


def read_pairs(text: Path, code: str) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Return the sentences and scores of STS-B dev."""
    with (text / "sts" / f"stsb-{code}-dev.csv").open(encoding="utf-8", newline="") as file:
        first, second, scores = zip(*csv.reader(file), strict=True)
    return list(first), list(second), np.array(scores, dtype=np.float64)


def judge_baselines(text: Path) -> dict[str, Judged]:
    """Return the cosines of what has learnt nothing but which words there are, fitted on the very sentences judged."""
    found: dict[str, Judged] = {name: {} for name in BASELINES}
    for code in LANGUAGES.values():
        first, second, _ = read_pairs(text, code)
        for name, baseline in BASELINES.items():
            embedder = baseline([*first, *second])
            pairs = (embed_texts(embedder, texts) for texts in (first, second))
            found[name][code] = np.einsum("ij,ij->i", *pairs)[None]
    return found


def cell(judged: Judged, beside: Judged, code: str, scores: NDArray[np.float64]) -> tuple[str, str]:
    """Mean correlation and its deviation over seeds, x 100; and how much more than another's, with its interval.

    The interval is that over pairs of the mean over seeds, both judged on the same resamples.
    """

    def mean(cosines: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        return 100 * np.mean([spearman(scores, one, weights) for one in cosines], axis=0)

    values = [100 * float(spearman(scores, one)[0]) for one in judged[code]]
    middle, deviation = mean_and_deviation(values)
    value = f"{middle:.1f} ± {deviation:.1f}" if len(values) > 1 else f"{middle:.1f}"
    if judged is beside:
        return value, ""
    drawn = bootstrap(
        lambda weights: (mean(judged[code], weights) - mean(beside[code], weights))[:, None],
        len(scores),
        resamples=RESAMPLES,
    )
    low, high = np.percentile(drawn, [2.5, 97.5])
    difference = float((mean(judged[code]) - mean(beside[code]))[0])
    return value, f"{difference:+.1f} [{low:+.1f}, {high:+.1f}]"


def table_of(found: dict[str, Judged], text: Path) -> list[str]:
    """The rows of the table in markdown."""
    header = " | ".join(f"{language} | beside TF-IDF" for language in LANGUAGES)
    lines = [f"| | {header} |", "|---|" + "---:|" * 2 * len(LANGUAGES)]
    scores = {code: read_pairs(text, code)[2] for code in LANGUAGES.values()}
    for name, judged in found.items():
        cells = [part for code in scores for part in cell(judged, found["TF-IDF"], code, scores[code])]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True, help="the folder of sentences/, nli/ and sts/")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "sts")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--parallel", type=int, default=default_parallel())
    arguments = parser.parse_args()
    folder, text = arguments.output, arguments.text.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    found = judge_baselines(text)
    # One after the other where a step begins with what the one before it has left.
    for steps in ((UNTRAINED, SKIP_GRAM, "simcse"), ("nli",), ("graded",)):
        jobs = {step: jobs_of(step, folder, text, range(arguments.seeds)) for step in steps}
        run_all([job for some in jobs.values() for job in some], folder, arguments.parallel)
        found |= {ROWS[step]: read_judged(folder, some) for step, some in jobs.items()}
    lines = table_of(found, text)
    print("\n".join(lines))
    page = (ROOT / "benchmarks" / "sts.md.in").read_text(encoding="utf-8")
    filled = page.replace("{{seeds}}", str(arguments.seeds)).replace("{{table}}", "\n".join(lines))
    (ROOT / "docs" / "sts.md").write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()
