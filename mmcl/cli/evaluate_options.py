"""The options of ``mmcl evaluate``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL... | STUDY.yaml",
        help='Runs, model folders, Hugging Face ids, open_clip\'s "ARCH,TAG" or "ARCH,checkpoint.pt", folders of '
        "sentence-transformers, embeddings in .npy, .npz or .parquet; untrained:MODEL for fresh weights.",
    ),
]
Task = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        "-t",
        help="retrieval, zeroshot_classification, multilabel_zeroshot_classification, knn, linear_probe, few_label, "
        "image_retrieval, image_caption_selection, robustness, representation_health, clustering; of texts alone sts, "
        "pair_classification, text_retrieval, bitext_mining, triplet_accuracy. May be repeated.",
    ),
]
Data = Annotated[
    str | None, typer.Option("--data", "-d", help="glyphs, digits, a file, a folder, a glob, a hub id, or wds/NAME.")
]
Suite = Annotated[
    str | None,
    typer.Option(
        help="In place of --data: a packaged list of tasks, of which --task keeps some; or mteb:NAMES, benchmarks and "
        "tasks of MTEB, commas between."
    ),
]
Train = Annotated[
    str | None, typer.Option(help="What knn, linear_probe and few_label learn from: as --data, with labels.")
]
TrainSplit = Annotated[str | None, typer.Option(help="Split of what is learnt from.")]
Image = Annotated[str | None, typer.Option(help="Column of the pictures.")]
Text = Annotated[str | None, typer.Option(help="Column of the captions or anchors.")]
Positive = Annotated[str | None, typer.Option(help="Column of the texts that belong to the anchors.")]
Negatives = Annotated[list[str] | None, typer.Option(help="Column of hard negatives; may be repeated.")]
Score = Annotated[str | None, typer.Option(help="Column of how alike anchor and positive are, for sts.")]
Group = Annotated[str | None, typer.Option(help="Column of the groups.")]
Label = Annotated[str | None, typer.Option(help="Column of the classes.")]
Labels = Annotated[
    str | None, typer.Option(help="Column of all labels of a picture, for multilabel_zeroshot_classification.")
]
Separator = Annotated[str | None, typer.Option(help='What stands between them where they are one text, such as ";".')]
Corpus = Annotated[str | None, typer.Option(help="Further documents of text_retrieval: as --data.")]
Language = Annotated[str, typer.Option(help="Of the texts, for results, and of published sets of templates.")]
Template = Annotated[
    list[str] | None,
    typer.Option(
        help="Prompt with {} for the class, may be repeated; or a published set such as imagenet; or a .txt file. By "
        "default those that come with the data."
    ),
]
ClassNames = Annotated[
    str | None,
    typer.Option(help="Published names of the classes, such as imagenet, or a .txt file, in the order of the classes."),
]
DatasetRoot = Annotated[
    str | None,
    typer.Option(help="Folder with copies of CLIP_benchmark's data, such as wds_vtab-cifar10, in place of the hub."),
]
Baselines = Annotated[
    bool,
    typer.Option("--baselines", help="Judge raw pixels, of sts bags of words, and the untrained encoder too."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Use only the first so many rows; results say so.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures or texts encoded at a time.")]
Precision = Annotated[Literal["fp32", "bf16", "fp16"], typer.Option(help="Of the towers.")]
Resident = Annotated[int | None, typer.Option(min=1, help="Models in memory at a time; by default all.")]
Cache = Annotated[
    str | None,
    typer.Option(help="Folder of embeddings, which later calls take; of several models by default cache in --output."),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", help="Folder for result files and a report; with several models, a second call goes on in it."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check every name, file and size, load no weights, judge nothing.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]


def _list_suites(is_asked: bool) -> None:
    if is_asked:
        from mmcl.suites import list_suites

        named = [(suite.name, suite.description) for suite in list_suites()]
        named.append(("mteb:NAMES", "benchmarks and tasks of MTEB and MIEB, with commas between"))
        width = max(len(name) for name, _ in named)
        typer.echo("\n".join(f"{name:{width}}  {description}" for name, description in named))
        raise typer.Exit


ListSuites = Annotated[
    bool, typer.Option("--list-suites", callback=_list_suites, is_eager=True, help="List the packaged suites and exit.")
]
