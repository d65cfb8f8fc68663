"""One HTML page about a run: results, training, examples, matrices, a map, the recipe."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.changes import Change, TradeOff
from evaluation.report.embedding_map import draw_map
from evaluation.report.panels import change_row, confusion_panel, headline_panel, similarity_panel
from evaluation.report.tradeoff import draw_trade_off
from evaluation.report.training_curves import draw_training
from evaluation.results import TaskResult, library_versions
from evaluation.tables import metric_rows

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(
    path: str | Path,
    title: str,
    results: Sequence[TaskResult],
    training_log: Sequence[Mapping[str, Any]] = (),
    recipe_text: str = "",
    versions: Mapping[str, str] | None = None,
    changes: Sequence[Change] = (),
    trade_off: TradeOff | None = None,
    warnings: Sequence[str] = (),
) -> Path:
    """Write the report to ``path``, its folder made if need be; an older file is replaced whole or not at all.

    Args:
        path: an ``.html`` file.
        title: heading of the page.
        results: shown in order; examples, matrices and maps come from their ``exhibits``.
        training_log: records of ``metrics.jsonl``: ``step`` and any of ``loss`` and ``chance``, of several objectives
            ``loss/<objective>`` and ``chance/<objective>``, ``health/<modality>/spread`` and ``effective_rank``,
            ``lr``, ``samples_per_second``, ``data_wait`` (a fraction), and ``<dataset>/<metric>`` fractions.
        recipe_text: shown as it is.
        versions: of libraries; by default those of this environment.
        changes: metrics before and after, which the page opens with.
        trade_off: states between the two, and the recommended one.
        warnings: sentences below the heading.

    Returns:
        The path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    page = render_report(title, results, training_log, recipe_text, versions, changes, trade_off, warnings)
    aside = path.with_name(path.name + ".part")
    aside.write_bytes(page.encode("utf-8", errors="replace"))  # a lone surrogate in a caption has no UTF-8 form
    aside.replace(path)
    return path


def render_report(
    title: str,
    results: Sequence[TaskResult],
    training_log: Sequence[Mapping[str, Any]] = (),
    recipe_text: str = "",
    versions: Mapping[str, str] | None = None,
    changes: Sequence[Change] = (),
    trade_off: TradeOff | None = None,
    warnings: Sequence[str] = (),
) -> str:
    """Return the page that `write_report` writes; the same arguments give the same page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    return environment.get_template("report.html").render(
        title=title,
        warnings=warnings,
        style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),  # our own file, nothing of the user's
        sections=[_section(index, result) for index, result in enumerate(results, start=1)],
        changes=[change_row(change) for change in changes],
        recommended=[change_row(change) for change in trade_off.changes] if trade_off else [],
        trade_off=draw_trade_off(trade_off) if trade_off else None,
        training=draw_training(training_log),
        recipe_text=recipe_text,
        versions=library_versions() if versions is None else versions,
        models=[name for name in dict.fromkeys(result.model for result in results) if name != title],
    )


def _section(number: int, result: TaskResult) -> dict[str, Any]:
    """What the template needs of one result, drawings computed."""
    exhibits = result.exhibits
    return {
        "anchor": f"result-{number}",
        "result": result,
        "headline": headline_panel(result),
        "rows": metric_rows([result], headline_only=False),
        "exhibits": exhibits,
        "confusion": confusion_panel(exhibits.confusion) if exhibits.confusion else None,
        "similarity": similarity_panel(exhibits.similarity) if exhibits.similarity else None,
        "map": draw_map(exhibits.embeddings) if exhibits.embeddings else None,
    }


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
