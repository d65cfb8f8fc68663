"""``mmcl evaluate``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mmcl.cli import evaluate_options as asked
from mmcl.cli import source_options as options
from mmcl.cli.suite import MTEB_PREFIX, evaluate_suite

if TYPE_CHECKING:
    from evaluation import TaskResult
    from mmcl.errors import UnreachableError
    from mmcl.recipe_data import SourceConfig
    from mmcl.recipe_tasks import AnyTask
    from mmcl.study_config import StudyConfig

_YAML = (".yaml", ".yml")


def evaluate(
    context: typer.Context,
    models: asked.Models,
    task: asked.Task = None,
    data: asked.Data = None,
    suite: asked.Suite = None,
    split: options.Split = None,
    train: asked.Train = None,
    train_split: asked.TrainSplit = None,
    image: asked.Image = None,
    text: asked.Text = None,
    positive: asked.Positive = None,
    negatives: asked.Negatives = None,
    score: asked.Score = None,
    group: asked.Group = None,
    delimiter: options.Delimiter = None,
    column_names: options.ColumnNames = None,
    corpus: asked.Corpus = None,
    language: asked.Language = "en",
    label: asked.Label = None,
    labels: asked.Labels = None,
    separator: asked.Separator = None,
    template: asked.Template = None,
    class_names: asked.ClassNames = None,
    baselines: asked.Baselines = False,
    limit: asked.Limit = None,
    batch_size: asked.BatchSize = 64,
    precision: asked.Precision = "fp32",
    resident: asked.Resident = None,
    cache: asked.Cache = None,
    output: asked.Output = None,
    dataset_root: asked.DatasetRoot = None,
    dry_run: asked.DryRun = False,
    as_json: asked.AsJson = False,
    list_suites: asked.ListSuites = False,
) -> None:
    """Judge models on held-out data and print the numbers, of one model with 95% intervals.

    The tasks are given by --task and --data, by a --suite, or, with the models, in a study's YAML file.
    """
    from mmcl.errors import UserError
    from mmcl.training.results import refuse_results_in

    if suite is not None and suite.startswith(MTEB_PREFIX):
        _refuse_others(context, "--suite mteb:", {"models", "suite", "batch_size", "output", "as_json"})
        if as_json and len(models) > 1:
            raise UserError("--suite mteb: with --json takes one model at a time")
        for model in models:
            evaluate_suite(model, suite, Path(output or "."), batch_size, as_json)
        return
    values = context.params
    words: Callable[[], AbstractContextManager[None]] = nullcontext
    if models[0].endswith(_YAML):
        study = _study_of_file(context, models)
    elif suite is not None:
        _refuse_others(context, "--suite", {"models", "suite", "task", *_OF_STUDIES, "dry_run", "as_json"})
        study = _study(values)
    else:
        study, words = _study_of_options(context), _own_words
    is_one = len(models) == 1 and not models[0].endswith(_YAML)
    if is_one and output is not None:
        refuse_results_in(Path(output))
    if is_one and cache is None:  # which pays where a call may go on
        study = study.model_copy(update={"cache": False})
    missing: list[UnreachableError] = []
    with words():
        results = _judge(study, is_one, dry_run, as_json, missing)
    if results is not None:
        _print(results, study.output, as_json)
    _tell_of(missing)


_OF_STUDIES = ("limit", "batch_size", "precision", "baselines", "resident", "cache", "output", "dataset_root")
"""Options that are keys of a study too."""


def _study_of_file(context: typer.Context, models: Sequence[str]) -> StudyConfig:
    """Return the study of a file, with the options that were given in the place of its keys."""
    from mmcl.errors import UserError
    from mmcl.study_config import read_study

    if len(models) > 1:
        raise UserError(f"{models[0]} is a study, which names its models; give it alone")
    _refuse_others(context, "a study", {"models", *_OF_STUDIES, "dry_run", "as_json"})
    given = {name: context.params[name] for name in _OF_STUDIES if _is_given(context, name)}
    return read_study(models[0], given)


def _study(values: dict[str, Any], **fields: Any) -> StudyConfig:
    """Return the study of the options."""
    from mmcl.study_config import study_of

    given = {name: values[name] for name in _OF_STUDIES if values[name] is not None}
    fields |= {"suite": values["suite"], "tasks": values["task"] or None if values["suite"] else None}
    return study_of({"models": values["models"], **given, **fields})


def _study_of_options(context: typer.Context) -> StudyConfig:
    """Return the study of ``--task`` and ``--data``, its tasks with those of the other options that they have."""
    from mmcl.errors import UserError

    values = context.params
    task, data = values["task"], values["data"]
    if not task or data is None:
        raise UserError("give --task and --data, or --suite, or a study's .yaml file")
    as_csv: dict[str, Any] = {"delimiter": values["delimiter"], "column_names": values["column_names"]}
    source = options.source_given(data, values["split"], limit=values["limit"], **as_csv)
    given = {
        "templates": _templates(values["template"] or ()),
        "class_names": values["class_names"],
        "train": _like(values["train"], as_csv, split=values["train_split"]),
        "baselines": values["baselines"],
        "corpus": _like(values["corpus"], as_csv),
        "separator": values["separator"] or None,
        "language": values["language"] if _is_given(context, "language") else None,
    }
    configs = [_task_config(name, source, given) for name in task]
    _refuse_unused(task, given)
    names = ("image", "text", "positive", "negatives", "score", "group", "label", "labels")
    roles = {name: values[name] for name in names}
    return _study(
        values,
        evaluate=configs,
        columns={role: column for role, column in roles.items() if column},
    )


def _templates(given: Sequence[str]) -> str | tuple[str, ...]:
    """Return templates, or the name of a set of them, which has no place for a class."""
    from mmcl.errors import UserError

    sets = [each for each in given if "{" not in each]
    if sets and len(given) > 1:
        raise UserError(f'--template: "{sets[0]}" has no place {{}} for the class; the name of a set stands alone')
    return sets[0] if sets else tuple(given)


def _like(path: str | None, as_csv: dict[str, Any], split: str | None = None) -> SourceConfig | None:
    """Return a source that is read as the data is, where both are csv."""
    if path is None:
        return None
    is_csv = Path(path).suffix in (".csv", ".tsv")
    return options.source_given(path, split, **(as_csv if is_csv else {}))


def _refuse_unused(tasks: Sequence[str], given: dict[str, Any]) -> None:
    """Refuse an option that none of the tasks takes, so that nobody reads numbers as made with it."""
    from mmcl.errors import UserError
    from mmcl.study_tasks import TASKS

    taken = {field for name in tasks for field in TASKS[name].model_fields}
    for key, value in given.items():
        if value not in (None, (), False) and key not in taken:
            takers = ", ".join(name for name, kind in TASKS.items() if key in kind.model_fields)
            option = "template" if key == "templates" else key.replace("_", "-")
            raise UserError(f"--{option} is for {takers}, and would change nothing of {', '.join(tasks)}")


def _task_config(name: str, source: SourceConfig, given: dict[str, Any]) -> AnyTask:
    """Return the task of that name, with those of the options given that it has."""
    from mmcl.errors import UserError, did_you_mean
    from mmcl.recipe_tasks import have_same_rows
    from mmcl.study_tasks import TASKS

    if name not in TASKS:
        raise UserError(f'--task: unknown task "{name}" (known: {", ".join(TASKS)}).{did_you_mean(name, list(TASKS))}')
    kind = TASKS[name]
    fields = {key: value for key, value in given.items() if key in kind.model_fields and value not in (None, ())}
    if "train" in fields and have_same_rows(fields["train"], source):
        raise UserError("--train: the rows learnt from are the rows judged on; give another --train or --train-split")
    return kind(data=source, **fields)


def _judge(
    study: StudyConfig, is_one: bool, dry_run: bool, as_json: bool, missing: list[UnreachableError]
) -> list[TaskResult] | None:
    """Return the results; of a dry run print what would be done, and return None. Fill ``missing`` in any case.

    Where models could not do some tasks, what there is is printed before the error.
    """
    from mmcl.study import UnjudgedError, run_study
    from mmcl.study_plan import plan_study
    from mmcl.training.results import new_results_folder

    def tell(line: str) -> None:
        typer.echo(line, err=True)

    if dry_run:
        plan = plan_study(study, study.models, tell)
        plan.refuse_problems()
        missing += plan.unreachable
        typer.echo("\n".join([*plan.lines(), *map(str, missing), "nothing was judged"]))
        return None
    if is_one and study.output is not None:
        new_results_folder(Path(study.output))
    try:
        return run_study(study, in_one_folder=is_one, missing=missing, tell=tell)
    except UnjudgedError as error:
        if error.results:
            _print(error.results, study.output, as_json)
        raise
    except KeyboardInterrupt:
        if study.output is not None and not is_one:
            tell(f"stopped; {study.output} keeps what was done, and the same command goes on")
        raise


def _tell_of(missing: Sequence[UnreachableError]) -> None:
    from mmcl.errors import UnreachableError

    if missing:
        raise UnreachableError(
            f"{len(missing)} tasks of the suite cannot be judged, because their data cannot be had; with a network, or "
            "copies of the data (--dataset-root), they can"
        )


def _print(results: Sequence[TaskResult], output: str | None, as_json: bool) -> None:
    from evaluation import format_model_table, format_table
    from evaluation.model_table import model_label

    if as_json:
        typer.echo(json.dumps([json.loads(result.to_json()) for result in results], indent=2))
        return
    if len({model_label(result) for result in results}) > 1:
        typer.echo(format_model_table(results))
        num_notes = sum(len(result.notes) for result in results)
        if num_notes:
            typer.echo(f"{num_notes:,} notes on these numbers are in the result files, the report and --json")
    else:
        typer.echo(format_table(results))
        for result in results:
            for note in result.notes:
                typer.echo(f"{result.dataset} {result.task}: {note}")
    if output is not None:
        typer.echo(f"\nreport   {Path(output) / 'report.html'}")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _refuse_others(context: typer.Context, beside: str, taken: set[str]) -> None:
    from mmcl.errors import UserError

    for parameter in context.command.params:
        name = parameter.name or ""
        if name not in taken and _is_given(context, name):
            raise UserError(f"{parameter.opts[0]} does not go with {beside}, which has data and protocols of its own")


@contextmanager
def _own_words() -> Iterator[None]:
    """Name this command's options where a mistake names a study's keys."""
    from mmcl.errors import UserError

    try:
        yield
    except UserError as error:
        message = re.sub(r"evaluate\.\d+\.(data|train|corpus)\.path", r"--\1", str(error))
        message = re.sub(r"evaluate\.\d+\.train\.", "--train-", message)
        message = re.sub(r"evaluate\.\d+(?=: )", "--task", message)
        message = re.sub(r"evaluate\.\d+\.(?:data\.|columns\.)?", "--", message)
        message = message.replace("--column_names", "--column-names")
        raise UserError("\n".join(dict.fromkeys(message.splitlines()))) from error
