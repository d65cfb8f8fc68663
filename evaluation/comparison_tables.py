"""A comparison as plain text, markdown, LaTeX, HTML and CSV: percents, the best marked, and what is not told apart."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from evaluation.comparison import Comparison, MetricComparison, ResultsByModel, Score
from evaluation.results import TaskResult
from evaluation.tables import align, format_interval, format_value

COLUMNS = ("dataset", "task", "metric", "model", "value", "95% interval", "behind", "95% interval", "p")
_NUM_TEXT_COLUMNS = 4
_MAX_PAIRS_NAMED = 12
_MAX_DATASETS_BESIDE_EACH_OTHER = 8
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {character: "\\" + character for character in "&%$#_{}"}
_CSV_KEYS = ("dataset", "model", "pretrained", "task", "language", "split", "num_examples", "model_fullname")

Mark: TypeAlias = Literal["best", "not told apart", ""]
LEGEND = "Percents. Bold: best; underlined: not told apart from it (paired bootstrap, Holm's correction)."


@dataclass(frozen=True)
class Cell:
    """A value of a table of models by data sets, formatted, and what it is beside the others of its data set."""

    text: str = ""
    mark: Mark = ""


def format_comparison(comparison: Comparison) -> str:
    """Return an aligned plain-text table, best models first, and a sentence for each line on what is not told apart.

    ``behind`` is how much less a model reaches than the best, on the same examples; p is Holm's over all pairs.
    """
    every = [*comparison.by_dataset, *comparison.means]
    has_pairs = any(one.pairs for one in every)
    lines = [COLUMNS, *(line for one in every for line in _lines(one))]
    kept = len(COLUMNS) if has_pairs else COLUMNS.index("behind")
    table = align([line[:kept] for line in lines], _NUM_TEXT_COLUMNS)
    said = [sentence(one) for one in every if one.pairs]
    parts = (table, "\n".join(_runs(comparison.results)), "\n".join(said), "\n".join(comparison.left_out))
    return "\n\n".join(part for part in parts if part)


def _runs(results: ResultsByModel) -> list[str]:
    """Say of which runs a model is made that has several."""
    runs = {model: list(dict.fromkeys(result.model for result in several)) for model, several in results.items()}
    return [f"{model} is one model of several seeds: {', '.join(names)}" for model, names in runs.items() if names[1:]]


def sentence(one: MetricComparison) -> str:
    """Return which pairs of models are not told apart, in one sentence."""
    same = [pair for pair in one.pairs if not pair.is_told_apart]
    of_all = f"{one.name} {one.task} {one.metric}: "
    if not same:
        return of_all + ("told apart" if len(one.pairs) == 1 else f"all {len(one.pairs)} pairs told apart (Holm)")
    named = [f"{pair.first} and {pair.second}{' (equal)' if pair.is_tie else ''}" for pair in same[:_MAX_PAIRS_NAMED]]
    more = f", and {len(same) - len(named)} more" if len(same) > len(named) else ""
    return f"{of_all}{len(same)} of {len(one.pairs)} pairs not told apart (Holm): {', '.join(named)}{more}"


def _lines(one: MetricComparison) -> list[tuple[str, ...]]:
    what = (one.name, one.task, one.metric)
    return [
        (*what, score.model, _value(score), format_interval(score.interval, "fraction"), *_behind(one, score))
        for score in one.scores
    ]


def _value(score: Score) -> str:
    shown = format_value(score.value, "fraction")
    return shown if score.std is None else f"{shown} ± {format_value(score.std, 'fraction')} ({score.num_runs} runs)"


def _behind(one: MetricComparison, score: Score) -> tuple[str, str, str]:
    pair = one.pair(one.scores[0].model, score.model)
    if pair is None:
        return "", "", ""
    interval = format_interval(pair.comparison.interval, "fraction")
    return format_value(pair.comparison.difference, "fraction"), interval, format_p(pair.adjusted_p)


def format_p(p_value: float) -> str:
    """Return a p-value to two digits, ``<0.001`` below that."""
    return "<0.001" if p_value < 0.001 else f"{p_value:.2g}"


def markdown_table(comparison: Comparison) -> str:
    """Return models by data sets: the best bold, what is not told apart from it underlined."""
    marks = {"best": "**{}**", "not told apart": "<u>{}</u>", "": "{}"}
    head, rows = _grid(comparison)
    lines = [head, ("---", *("---:" for _ in head[1:]))]
    lines += [(row[0], *(marks[cell.mark].format(cell.text) for cell in row[1])) for row in rows]
    escaped = ("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
    return "\n".join(escaped) + f"\n\n{LEGEND}\n"


def latex_table(comparison: Comparison, caption: str = "") -> str:
    """Return models by data sets as a ``tabular`` of booktabs; with a caption, in a ``table``.

    The best is bold, what is not told apart from it underlined; names are escaped.
    """
    marks = {"best": r"\textbf{{{}}}", "not told apart": r"\underline{{{}}}", "": "{}"}
    head, rows = _grid(comparison)
    lines = [
        f"% {LEGEND} Needs \\usepackage{{booktabs}}.",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        " & ".join(map(_latex, head)) + r" \\",
        r"\midrule",
        *(
            " & ".join([_latex(name), *(marks[cell.mark].format(_latex(cell.text)) for cell in cells)]) + r" \\"
            for name, cells in rows
        ),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if caption:
        around = (r"\begin{table}", r"\centering", rf"\caption{{{_latex(caption)}}}")
        lines = [*around, *lines, r"\end{table}"]
    return "\n".join(lines) + "\n"


def html_table(comparison: Comparison) -> str:
    """Return models by data sets as HTML, and below it what is not told apart."""
    marks = {"best": "<b>{}</b>", "not told apart": "<u>{}</u>", "": "{}"}
    head, rows = _grid(comparison)
    title = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join(
        f"<tr><td>{html.escape(name)}</td>"
        + "".join(f"<td>{marks[cell.mark].format(html.escape(cell.text))}</td>" for cell in cells)
        + "</tr>"
        for name, cells in rows
    )
    every = [*comparison.by_dataset, *comparison.means]
    said = [LEGEND, *(sentence(one) for one in every if one.pairs), *comparison.left_out]
    return f"<table><tr>{title}</tr>{body}</table>" + "".join(f"<p>{html.escape(line)}</p>" for line in said)


def csv_table(results: ResultsByModel) -> str:
    """Return a line for each result, with CLIP_benchmark's names of columns; metrics are fractions, or empty.

    Results of the first rows only, which no column could tell from others, are left out.
    """
    every = [result for several in results.values() for result in several if not result.is_partial]
    metrics = list(dict.fromkeys(name for result in every for name in result.metrics))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*metrics, *_CSV_KEYS])
    for result in every:
        writer.writerow([*(result.metrics.get(name) for name in metrics), *map(_column_of(result), _CSV_KEYS)])
    return stream.getvalue()


def _column_of(result: TaskResult) -> Callable[[str], object]:
    fullname = f"{result.model} {result.pretrained}"  # as CLIP_benchmark joins them
    return lambda key: fullname if key == "model_fullname" else getattr(result, key)


def _grid(comparison: Comparison) -> tuple[tuple[str, ...], list[tuple[str, list[Cell]]]]:
    """Return the head and the rows: a row for each model, or for each data set where those are too many for columns."""
    every = [*comparison.by_dataset, *comparison.means]
    several = [key for key in ("task", "metric") if len({getattr(one, key) for one in every}) > 1]
    names = [" ".join([one.name, *(getattr(one, key) for key in several)]) for one in every]
    cells = [[_cell(one, model) for model in comparison.models] for one in every]
    if len(every) > _MAX_DATASETS_BESIDE_EACH_OTHER:
        return ("", *comparison.models), list(zip(names, cells, strict=True))
    return ("", *names), [(model, [row[place] for row in cells]) for place, model in enumerate(comparison.models)]


def _cell(one: MetricComparison, model: str) -> Cell:
    score = next((score for score in one.scores if score.model == model), None)
    if score is None:
        return Cell()
    return Cell(_short(score), _mark(one, score))


def _short(score: Score) -> str:
    shown = format_value(score.value, "fraction")
    return shown if score.std is None else f"{shown} ± {format_value(score.std, 'fraction')}"


def _mark(one: MetricComparison, score: Score) -> Mark:
    best = one.scores[0]
    if score.value == best.value:
        return "best" if len(one.scores) > 1 else ""
    pair = one.pair(best.model, score.model)
    return "not told apart" if pair is not None and not pair.is_told_apart else ""


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text).replace("±", r"$\pm$")
