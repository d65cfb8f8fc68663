"""Pictures with names in two languages: what each language learns from the other; writes docs/cross-lingual.md.

    make cross-lingual EMOJI=emoji        (about five minutes on two cores)

A small pair of towers is trained from scratch on drawings of emoji, with their English names, their Chinese names, or
both as positives of the same picture. Judged is retrieval among concepts that were not learnt: pictures by a Chinese
name and by an English one, and the English name by the Chinese. `EMOJI` holds the folders ``noto``, ``emojitwo`` and
``blobmoji``, each with pictures and a ``metadata.jsonl`` of ``file_name``, ``text``, ``text_zh`` and ``concept``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.runs import Job, Metrics, default_parallel, mean_and_deviation, run_all

ROOT = Path(__file__).resolve().parents[1]
ARTISTS = ("noto", "emojitwo", "blobmoji")
UNSEEN_SHARE = 0.15
LANGUAGES = {"English alone": ["text"], "Chinese alone": ["text_zh"], "both": ["text", "text_zh"]}
MODEL = {
    "image": {
        "config": {"model_type": "convnext", "hidden_sizes": [32, 64, 128, 192], "depths": [1, 1, 2, 1]},
        "image_size": 64,
        "pooling": "mean",
    },
    "text": {
        "config": {
            "model_type": "modernbert",
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 32,
        },
        "tokenizer": "zh-en",
        "pooling": "max",
        "max_length": 32,
    },
    "embedding_dim": 192,
}
TRAINING = {"batch_size": 128, "max_steps": 300, "lr": 2e-3, "weight_decay": 0.2}
MEASURES = {
    "picture by Chinese name": "zh-retrieval/image_retrieval_recall@{k}",
    "picture by English name": "en-retrieval/image_retrieval_recall@{k}",
    "English name by Chinese": "names-text_retrieval/recall_at_{k}",
}
CUTOFFS = (1, 10)


def is_unseen(concept: str) -> bool:
    """Whether a concept is held out, by its hash."""
    digest = hashlib.sha256(f"cross-lingual {concept}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < UNSEEN_SHARE * 2**64


def write_rows(folder: Path, emoji: Path) -> tuple[Path, Path, Path]:
    """Write the drawings to learn from, those of unseen concepts, and the names of these once each."""
    rows: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for artist in ARTISTS:
        for line in (emoji / artist / "metadata.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            picture = str(emoji / artist / row["file_name"])
            kept = {name: row[name] for name in ("text", "text_zh", "concept")}
            rows[is_unseen(row["concept"])].append({"image": picture, **kept})
    names = {(row["text_zh"], row["text"]): row for row in rows[True]}
    pairs = [{"anchor": zh, "positive": en, "concept": row["concept"]} for (zh, en), row in names.items()]
    paths = folder / "seen.jsonl", folder / "unseen.jsonl", folder / "names.jsonl"
    for path, some in zip(paths, (rows[False], rows[True], pairs), strict=True):
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some), encoding="utf-8")
    return paths


def job_of(rows: Sequence[Path], languages: str, seed: int) -> Job:
    """Return one run."""
    seen, unseen, names = map(str, rows)
    columns = LANGUAGES[languages]
    judges: list[dict[str, Any]] = [
        {
            "task": "retrieval",
            "name": name,
            "data": unseen,
            "columns": {"image": "image", "text": text, "group": "concept", "label": False},
        }
        for name, text in (("zh", "text_zh"), ("en", "text"))
    ]
    judges.append(
        {"task": "text_retrieval", "name": "names", "data": names, "columns": {"group": "concept", "label": False}}
    )
    data = {
        "train": seen,
        "validation": 0,
        "columns": {"image": "image", "text": columns, "group": "concept", "label": False},
        "num_captions": len(columns),
        "image_views": [{"random_resized_crop": [0.7, 1.0], "horizontal_flip": 0.5}],
        "num_workers": 0,
    }
    overrides = {"model": MODEL, "data": data, **TRAINING, "seed": seed, "evaluate": judges}
    return Job(f"{languages.split()[0].lower()}-{seed}", "quickstart", overrides)


def table_of(found: dict[str, Sequence[Metrics]], chances: Sequence[float]) -> list[str]:
    """The rows of the table in markdown, recalls in percent."""
    header = " | ".join(f"{measure}, R@{k}" for measure in MEASURES for k in CUTOFFS)
    lines = [f"| names learnt | {header} |", "|---|" + "---:|" * len(MEASURES) * len(CUTOFFS)]
    for languages, runs in found.items():
        cells = []
        for measure in MEASURES.values():
            for k in CUTOFFS:
                mean, deviation = mean_and_deviation([100 * run[measure.format(k=k)] for run in runs])
                cells.append(f"{mean:.1f} ± {deviation:.1f}")
        lines.append(f"| {languages} | " + " | ".join(cells) + " |")
    return [*lines, "| chance | " + " | ".join(f"{100 * chance:.1f}" for chance in chances) + " |"]


def chances_of(run: Path) -> list[float]:
    """What each measure is for a model that knows nothing."""
    chances = []
    for measure in MEASURES.values():
        file, _, metric = measure.partition("/")
        result = json.loads((run / "results" / f"{file}.json").read_text(encoding="utf-8"))
        chances += [result["chance"][metric.format(k=k)] for k in CUTOFFS]
    return chances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emoji", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "cross-lingual")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--parallel", type=int, default=default_parallel())
    arguments = parser.parse_args()
    folder, emoji = arguments.output, arguments.emoji.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    rows = write_rows(folder, emoji)
    jobs = {way: [job_of(rows, way, seed) for seed in range(arguments.seeds)] for way in LANGUAGES}
    metrics = run_all([job for some in jobs.values() for job in some], folder, arguments.parallel)
    found = {way: [metrics[job.name] for job in some] for way, some in jobs.items()}
    lines = table_of(found, chances_of(folder / jobs["both"][0].name))
    print("\n".join(lines))
    seen, unseen, names = ([json.loads(line) for line in path.read_text("utf-8").splitlines()] for path in rows)
    facts = {
        "seeds": arguments.seeds,
        "table": "\n".join(lines),
        "num_seen": f"{len(seen):,}",
        "num_unseen": len(unseen),
        "num_concepts": len({row["concept"] for row in unseen}),
        "num_names": len({row["positive"] for row in names}),
    }
    page = (ROOT / "benchmarks" / "cross-lingual.md.in").read_text(encoding="utf-8")
    for name, value in facts.items():
        page = page.replace("{{" + name + "}}", str(value))
    (ROOT / "docs" / "cross-lingual.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
