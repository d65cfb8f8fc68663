"""``mmcl evaluate``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from mmcl.cli import source_options as options
from mmcl.cli.suite import evaluate_suite

if TYPE_CHECKING:
    from mmcl.recipe_data import SourceConfig
    from mmcl.recipe_tasks import AnyTask


def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help='A run, a model folder, a Hugging Face id, or open_clip\'s "ARCH,TAG".')],
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            "-t",
            help="retrieval, zeroshot_classification, knn, linear_probe, few_label; of texts alone sts, "
            "pair_classification, text_retrieval, bitext_mining, triplet_accuracy. May be repeated.",
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="glyphs, digits, a file, a folder, a glob, or a hub id.")
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="In place of --task and --data: mteb:NAMES, benchmarks and tasks of MTEB, commas between."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of the data.")] = None,
    train: Annotated[
        str | None, typer.Option(help="What knn, linear_probe and few_label learn from: as --data, with labels.")
    ] = None,
    train_split: Annotated[str | None, typer.Option(help="Split of what is learnt from.")] = None,
    image: Annotated[str | None, typer.Option(help="Column of the pictures.")] = None,
    text: Annotated[str | None, typer.Option(help="Column of the captions or anchors.")] = None,
    positive: Annotated[str | None, typer.Option(help="Column of the texts that belong to the anchors.")] = None,
    negatives: Annotated[list[str] | None, typer.Option(help="Column of hard negatives; may be repeated.")] = None,
    score: Annotated[str | None, typer.Option(help="Column of how alike anchor and positive are, for sts.")] = None,
    group: Annotated[str | None, typer.Option(help="Column of the groups.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="What separates csv columns.")] = None,
    column_names: options.ColumnNames = None,
    corpus: Annotated[str | None, typer.Option(help="Further documents of text_retrieval: as --data.")] = None,
    language: Annotated[str, typer.Option(help="Of the texts, for results, where texts alone are judged.")] = "en",
    label: Annotated[str | None, typer.Option(help="Column of the classes.")] = None,
    template: Annotated[list[str] | None, typer.Option(help="Prompt with {} for the class; may be repeated.")] = None,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines",
            help="Judge raw pixels, of sts bags of words, and the untrained encoder too.",
        ),
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first so many rows.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures or texts encoded at a time.")] = 64,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for result files and a report.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Judge a model on held-out data and print the numbers with their 95% intervals, or by a suite of benchmarks."""
    from evaluation import format_table
    from mmcl.embedder import load
    from mmcl.errors import UserError
    from mmcl.recipe_data import ColumnsConfig, SourceConfig
    from mmcl.training.judge import build_tasks, check_modalities, judge
    from mmcl.training.results import new_results_folder, write_results

    if suite is not None:
        _refuse_beside_suite(context)
        evaluate_suite(model, suite, output or Path(), batch_size, as_json)
        return
    if not task or data is None:
        raise UserError("give --task and --data, or --suite")
    folder = None if output is None else new_results_folder(output)
    source = options.source_given(data, split, delimiter=delimiter, limit=limit, column_names=column_names)
    columns = ColumnsConfig(
        image=image,
        text=text,
        positive=positive,
        negatives=tuple(negatives) if negatives else None,
        score=score,
        group=group,
        label=label,
    )
    learnt_from = None if train is None else SourceConfig(path=train, split=train_split, delimiter=delimiter)
    given = {
        "templates": tuple(template or ()),
        "train": learnt_from,
        "baselines": baselines,
        "corpus": None if corpus is None else SourceConfig(path=corpus),
        "language": language,
    }
    configs = [_task_config(name, source, given) for name in task]
    embedder = load(model, batch_size=batch_size)
    with _own_words():
        check_modalities(configs, embedder.modalities)
        tasks = build_tasks(configs, columns, tell=lambda line: typer.echo(line, err=True))
    results = judge(embedder, tasks)
    if folder is not None:
        write_results(folder, results, title=f"{model} on {data}")
    if as_json:
        typer.echo(json.dumps([json.loads(result.to_json()) for result in results], indent=2))
        return
    typer.echo(format_table(results))
    for result in results:
        for note in result.notes:
            typer.echo(f"{result.dataset} {result.task}: {note}")
    if folder is not None:
        typer.echo(f"\nreport   {folder / 'report.html'}")


def _refuse_beside_suite(context: typer.Context) -> None:
    from mmcl.errors import UserError

    taken = {"model", "suite", "batch_size", "output", "as_json"}
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE" and parameter.name not in taken:
            raise UserError(f"{parameter.opts[0]} does not go with --suite, which has data and protocols of its own")


@contextmanager
def _own_words() -> Iterator[None]:
    """Name this command's options where a mistake names the recipe's keys."""
    from mmcl.errors import UserError

    try:
        yield
    except UserError as error:
        message = re.sub(r"evaluate\.\d+\.(data|train|corpus)\.path", r"--\1", str(error))
        message = re.sub(r"evaluate\.\d+\.train\.", "--train-", message)
        message = re.sub(r"evaluate\.\d+(?=: )", "--task", message)
        message = re.sub(r"evaluate\.\d+\.(?:data\.|columns\.)?", "--", message)
        raise UserError(message.replace("--column_names", "--column-names")) from error


def _task_config(name: str, source: SourceConfig, given: dict[str, Any]) -> AnyTask:
    """Return the task of that name, with those of the options given that it has."""
    from mmcl.errors import UserError, did_you_mean
    from mmcl.recipe_tasks import AnyTask, have_same_rows

    kinds = {kind.model_fields["task"].default: kind for kind in get_args(get_args(AnyTask)[0])}
    if name not in kinds:
        raise UserError(f'--task: unknown task "{name}" (known: {", ".join(kinds)}).{did_you_mean(name, list(kinds))}')
    fields = {key: value for key, value in given.items() if key in kinds[name].model_fields and value not in (None, ())}
    if "train" in fields and have_same_rows(fields["train"], source):
        raise UserError("--train: the rows learnt from are the rows judged on; give another --train or --train-split")
    task: AnyTask = kinds[name](data=source, **fields)
    return task
