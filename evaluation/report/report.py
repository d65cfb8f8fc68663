"""One HTML page about a run: results, training, examples, matrices, a map, the recipe."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.changes import Change, TradeOff
from evaluation.report.class_panels import class_panel, confusions
from evaluation.report.disagreements import disagreements
from evaluation.report.embedding_map import draw_map
from evaluation.report.panels import change_row, confusion_panel, headline_panel, queries_panel, similarity_panel
from evaluation.report.standings import Contest, contests, standings
from evaluation.report.tradeoff import draw_trade_off
from evaluation.report.training_curves import draw_training
from evaluation.results import TaskResult, library_versions
from evaluation.tables import metric_rows

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Amount:
    """How much is shown of one result.

    Attributes:
        num_queries: of each kind, found and missed.
        num_candidates: of each query.
        num_confusions: pairs of classes.
        num_pictures: of each pair.
        has_similarities: also the similarity matrix.
    """

    num_queries: int
    num_candidates: int
    num_confusions: int
    num_pictures: int
    has_similarities: bool


ALONE = Amount(num_queries=4, num_candidates=5, num_confusions=6, num_pictures=6, has_similarities=True)
AMONG_OTHERS = Amount(num_queries=2, num_candidates=3, num_confusions=3, num_pictures=4, has_similarities=False)
"""Of several models: so that a page of three models and ten tasks stays under three megabytes."""

_MAX_TSNE_MAPS = 30  # each takes a second or so


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
        results: shown in order; examples, matrices and maps come from their ``exhibits``. Of several models on the same
            data the page is a comparison: a table of all, where they disagree, and less of each.
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
    from markupsafe import Markup

    found = contests(results)
    has_quick_maps = sum(result.exhibits.embeddings is not None for result in results) > _MAX_TSNE_MAPS
    sections = [_section(number, contest, has_quick_maps) for number, contest in enumerate(found, start=1)]
    return _page_template().render(
        title=title,
        warnings=warnings,
        style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),  # our own file, nothing of the user's
        sections=sections,
        standings=standings(found) if any(len(contest.results) > 1 for contest in found) else None,
        changes=[change_row(change) for change in changes],
        recommended=[change_row(change) for change in trade_off.changes] if trade_off else [],
        trade_off=draw_trade_off(trade_off) if trade_off else None,
        training=draw_training(training_log),
        recipe_text=recipe_text,
        versions=library_versions() if versions is None else versions,
        models=[name for name in dict.fromkeys(result.model for result in results) if name != title],
    )


def _page_template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    return environment.get_template("report.html")


def _section(number: int, contest: Contest, has_quick_maps: bool) -> dict[str, Any]:
    """What the template needs of one task on one data set, drawings computed."""
    results, names = contest.results, contest.names
    amount = ALONE if len(results) == 1 else AMONG_OTHERS
    return {
        "anchor": f"result-{number}",
        "first": results[0],
        "names": names,
        "classes": class_panel(results, names),
        "disagreements": disagreements(contest),
        "parts": [_part(result, name, amount, has_quick_maps) for result, name in zip(results, names, strict=True)],
    }


def _part(result: TaskResult, name: str, amount: Amount, has_quick_map: bool) -> dict[str, Any]:
    """What the template needs of one model's result."""
    exhibits = result.exhibits
    similarity = exhibits.similarity if amount.has_similarities else None
    return {
        "name": name,
        "result": result,
        "headline": headline_panel(result),
        "headline_rows": metric_rows([result]),
        "rows": metric_rows([result], headline_only=False),
        "text_queries": queries_panel(exhibits.text_queries, amount.num_queries, amount.num_candidates),
        "image_queries": queries_panel(exhibits.image_queries, amount.num_queries, amount.num_candidates),
        "text_answers": queries_panel(exhibits.text_answers, amount.num_queries, amount.num_candidates),
        "text_pairs": exhibits.text_pairs,
        "confusion": confusion_panel(exhibits.confusion) if exhibits.confusion else None,
        "confusions": confusions(result, amount.num_confusions, amount.num_pictures),
        "similarity": similarity_panel(similarity) if similarity else None,
        "map": draw_map(exhibits.embeddings, is_quick=has_quick_map) if exhibits.embeddings else None,
    }


def _data_uri(picture: bytes) -> str:
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"
