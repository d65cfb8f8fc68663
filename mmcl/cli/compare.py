"""``mmcl compare``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from evaluation.comparison import ResultsByModel


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs, of evaluations or of studies; result files.")],
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="Metric to compare by; by default the main ones. May be repeated."),
    ] = None,
    task: Annotated[list[str] | None, typer.Option("--task", "-t", help="Only this task; may be repeated.")] = None,
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", "-d", help="Only this data set; may be repeated.")
    ] = None,
    latex: Annotated[Path | None, typer.Option(help="Write a LaTeX table of models by data sets.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write it as markdown.")] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write every metric of every result, with CLIP_benchmark's names of columns.")
    ] = None,
    published: Annotated[
        Path | None, typer.Option(help="CLIP_benchmark's benchmark.csv: shown beside, where it has the same models.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all pairs as JSON.")] = False,
) -> None:
    """Compare models on the same examples, in pairs, and say which of them are not told apart."""
    import evaluation

    results = _only(_only(evaluation.read_results(*folders), "task", task or ()), "dataset", dataset or ())
    table = None if published is None else evaluation.read_published(published)
    comparison = evaluation.compare(results, metrics=metric or ())
    overlap = None if table is None else evaluation.beside_published(results, table)
    if latex is not None:
        _write(latex, evaluation.latex_table(comparison))
    if markdown is not None:
        _write(markdown, evaluation.markdown_table(comparison))
    if csv is not None:
        _write(csv, evaluation.csv_table(results))
    if as_json:
        beside = {} if overlap is None else {"published": [dataclasses.asdict(one) for one in overlap]}
        typer.echo(json.dumps({**json.loads(comparison.to_json()), **beside}, indent=2, ensure_ascii=False))
        return
    typer.echo(evaluation.format_comparison(comparison))
    if overlap is not None:
        typer.echo(f"\n{evaluation.format_published(overlap)}")


def _write(path: Path, text: str) -> None:
    from mmcl.errors import writing

    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _only(results: ResultsByModel, key: str, names: Sequence[str]) -> ResultsByModel:
    """Return the results of some tasks or data sets, all where none are named."""
    from mmcl.errors import UserError, did_you_mean

    known = list(dict.fromkeys(getattr(result, key) for several in results.values() for result in several))
    for name in names:
        if name not in known:
            raise UserError(f'--{key}: no result of "{name}" (there: {", ".join(known)}).{did_you_mean(name, known)}')
    kept = {
        model: [result for result in several if not names or getattr(result, key) in names]
        for model, several in results.items()
    }
    return {model: several for model, several in kept.items() if several}
