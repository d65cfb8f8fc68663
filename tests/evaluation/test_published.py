"""One's own results beside a published table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evaluation import EvaluationError, Interval, beside_published, format_published, read_published
from tests.evaluation.compared import judged

# The columns of benchmark/benchmark.csv in CLIP_benchmark's repository.
HEAD = (
    "acc1,acc5,mean_per_class_recall,dataset,model,pretrained,task,mean_average_precision,"
    "image_retrieval_recall@5,text_retrieval_recall@5,model_fullname"
)
LINES = (
    "0.44,0.94,0.39,fer2013,ViT-B-32,openai,zeroshot_classification,,,,ViT-B-32 openai",
    ",,,flickr30k,ViT-B-32,openai,zeroshot_retrieval,,0.85,0.94,ViT-B-32 openai",
    ",,,voc2007_multilabel,ViT-B-32,openai,zeroshot_classification,0.75,,,ViT-B-32 openai",
)


def save(folder: Path, *lines: str, head: str = HEAD) -> Path:
    (folder / "benchmark.csv").write_text("\n".join([head, *lines]) + "\n")
    return folder / "benchmark.csv"


def test_what_overlaps_is_shown_with_the_difference(tmp_path: Path) -> None:
    names = {"pretrained": "openai", "task": "zeroshot_classification", "headline": ()}
    interval = Interval(0.43, 0.47, 0.95, 100)
    ours = judged("ViT-B-32", 0.5, dataset="wds/fer2013", metrics={"acc1": 0.45, "acc5": 0.9}, **names)
    ours = judged(
        "ViT-B-32", 0.5, dataset="wds/fer2013", metrics=dict(ours.metrics), intervals={"acc1": interval}, **names
    )
    retrieval = {
        **names,
        "task": "retrieval",
        "metrics": {"image_retrieval_recall@5": 0.8, "image_retrieval_recall@1": 0.5},
    }
    labels = {**names, "task": "multilabel_zeroshot_classification", "metrics": {"mean_average_precision": 0.75}}
    results = {
        "mine": [
            ours,
            judged("ViT-B-32", 0.5, dataset="flickr30k", **retrieval),
            judged("ViT-B-32", 0.5, dataset="voc2007_multilabel", **labels),
            judged("ViT-B-32", 0.5, dataset="fer2013", language="zh", **names),
            replace(ours, is_partial=True),
        ],
        "another": [judged("ViT-B-16", 0.5, dataset="fer2013", **names)],
    }
    found = beside_published(results, read_published(save(tmp_path, *LINES)))
    assert [(one.dataset, one.metric, one.ours, one.published, one.is_inside) for one in found] == [
        ("wds/fer2013", "acc1", 0.45, 0.44, True),
        ("wds/fer2013", "acc5", 0.9, 0.94, None),
        ("flickr30k", "image_retrieval_recall@5", 0.8, 0.85, None),
        ("voc2007_multilabel", "mean_average_precision", 0.75, 0.75, None),
    ]
    lines = format_published(found).splitlines()
    assert lines[1].split() == [
        *("wds/fer2013", "ViT-B-32,openai", "acc1", "45.0", "[43.0,", "47.0]", "44.0", "+1.0", "inside")
    ]
    assert format_published(beside_published({"another": results["another"]}, [])).startswith("nothing is published")


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"pretrained, task missing \(there: dataset, model, top1\)"):
        read_published(save(tmp_path, "a,b,1", head="dataset,model,top1"))
    with pytest.raises(EvaluationError, match=r"dataset, model, pretrained, task missing \(there: nothing\)"):
        read_published(save(tmp_path))
    with pytest.raises(EvaluationError, match=r"nothing\.csv: .*No such file"):
        read_published(tmp_path / "nothing.csv")
