"""The model card: README.md with the hub's metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mmcl.export.forms import Form
from mmcl.export.snippets import FORM_NOTES, TITLES, snippet_of
from mmcl.export.verify import MIN_COSINE, FormCheck
from mmcl.model import TwoTower


@dataclass(frozen=True)
class Score:
    """One number of an evaluation.

    Attributes:
        task: such as ``retrieval`` or ``zeroshot_classification``.
        dataset: what it was judged on.
        metric: as result files name it.
        value: a fraction; None where it does not exist.
        low: lower end of its 95% interval.
        high: upper end of its 95% interval.
    """

    task: str
    dataset: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ModelCardFacts:
    """What the card says besides what the model itself tells.

    Attributes:
        name: of the model.
        training_data: what it learnt from, in a sentence or two.
        recipe: the resolved recipe, as YAML.
        scores: numbers of evaluations, all of them.
        limitations: sentences about what it is not for.
        license: identifier for the metadata, such as ``apache-2.0``.
        languages: codes for the metadata, such as ``en``.
    """

    name: str
    training_data: str = ""
    recipe: str = ""
    scores: Sequence[Score] = ()
    limitations: Sequence[str] = ()
    license: str | None = None
    languages: Sequence[str] = ()


def write_card(path: Path, model: TwoTower, form: Form, checks: Sequence[FormCheck], facts: ModelCardFacts) -> None:
    """Write the card.

    Args:
        path: ``README.md`` of the folder.
        model: what was exported.
        form: how.
        checks: the ways to open it, with their outcomes.
        facts: what else to say.
    """
    metadata = yaml.safe_dump(_metadata(model, form, facts), sort_keys=False, allow_unicode=True)
    sections = [
        f"---\n{metadata}---",
        f"# {facts.name}",
        _summary(model),
        _opening(model, form, checks),
        _scores(facts.scores),
        _training(facts),
        _limitations(model, facts),
    ]
    path.write_text("\n\n".join(section for section in sections if section) + "\n", encoding="utf-8")


def _metadata(model: TwoTower, form: Form, facts: ModelCardFacts) -> dict[str, Any]:
    sentences = ("sentence-transformers", "sentence-similarity")
    library, pipeline = {
        "joint": ("transformers", "zero-shot-image-classification"),
        "dual_encoder": ("transformers", "zero-shot-image-classification"),
        "router": sentences,
        "open_clip": ("open_clip", "zero-shot-image-classification"),
        "single": ("transformers", "image-feature-extraction") if model.has_image_tower else sentences,
        "static": sentences,
    }[form]
    tags = ["mmcl", "contrastive-learning", "-".join(model.towers.modalities), "feature-extraction"]
    metadata: dict[str, Any] = {"library_name": library, "pipeline_tag": pipeline}
    metadata["tags"] = tags if form == "open_clip" else [*tags, "sentence-transformers"]
    if facts.license:
        metadata["license"] = facts.license
    if facts.languages:
        metadata["language"] = list(facts.languages)
    results = [_model_index_entry(score) for score in facts.scores if score.value is not None]
    if results:
        metadata["model-index"] = [{"name": facts.name, "results": results}]
    return metadata


def _model_index_entry(score: Score) -> dict[str, Any]:
    return {
        "task": {"type": score.task.replace("_", "-")},
        "dataset": {"name": score.dataset, "type": score.dataset},
        "metrics": [{"type": score.metric, "value": score.value}],
    }


def _summary(model: TwoTower) -> str:
    pixels, tokenizer = model.preprocessing, model.tokenizer
    has_both = pixels is not None and tokenizer is not None
    num_parameters = sum(parameter.numel() for parameter in (model if has_both else model.towers).parameters())
    rows = [
        ("made from", model.origin),
        ("parameters", f"{num_parameters:,}"),
        ("embedding", f"{model.embedding_dim} dimensions, compare by cosine"),
    ]
    if pixels is not None:
        rows.append(("picture", f"{pixels.size} x {pixels.size}, {pixels.resize_mode}, {pixels.interpolation}"))
    if tokenizer is not None:
        rows.append(("text", f"up to {tokenizer.max_length} tokens, the rest is cut"))
    if has_both:
        # One tower's methods have temperatures of their own.
        scale = model.logit_scale().item()
        bias = "" if model.logit_bias is None else f", logit bias {model.logit_bias.item():.4g}"
        rows.append(("temperature", f"{1 / scale:.4g} (logit scale {scale:.4g}{bias})"))
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"{_purpose(model)}\n\n| | |\n|---|---|\n{table}"


def _purpose(model: TwoTower) -> str:
    if not model.has_text_tower:
        return "Embeds pictures, so that pictures of like things lie near each other."
    if not model.has_image_tower:
        return "Embeds texts, so that texts of like meaning lie near each other."
    return "Embeds pictures and texts into one space, where a picture lies near the texts that describe it."


def _opening(model: TwoTower, form: Form, checks: Sequence[FormCheck]) -> str:
    rows = [f"| {TITLES[check.name]} | {_outcome(check)} |" for check in checks]
    held = {check.name for check in checks if check.holds or check.was_skipped}
    snippets = [f"```python\n{snippet_of(check.name, model)}\n```" for check in checks if check.name in held]
    table = "| opened by | same embeddings as in training |\n|---|---|\n" + "\n".join(rows)
    things = {"image": "pictures of odd sizes", "text": "texts of odd lengths"}
    compared = " and ".join(things[modality] for modality in model.towers.modalities)
    note = f"Compared on {compared}; smallest cosine, at least {MIN_COSINE} to hold."
    return "\n\n".join(["## Use", table, note, *snippets, FORM_NOTES[form]])


def _outcome(check: FormCheck) -> str:
    if check.cosine is None:
        return f"no: {check.problem}" if not check.was_skipped else str(check.problem)
    return f"yes (cosine {check.cosine:.7f})" if check.holds else f"no (cosine {check.cosine:.7f})"


def _scores(scores: Sequence[Score]) -> str:
    if not scores:
        return ""
    rows = [f"| {score.task} | {score.dataset} | {score.metric} | {_percent(score)} |" for score in scores]
    head = "| task | data | metric | x 100 |\n|---|---|---|---|"
    return "## Evaluation\n\n" + "\n".join([head, *rows])


def _percent(score: Score) -> str:
    if score.value is None:
        return "none"
    interval = "" if score.low is None or score.high is None else f" [{100 * score.low:.1f}, {100 * score.high:.1f}]"
    return f"{100 * score.value:.1f}{interval}"


def _training(facts: ModelCardFacts) -> str:
    data = facts.training_data or "What it was trained on was not stated."
    recipe = f"\n\n```yaml\n{facts.recipe.strip()}\n```" if facts.recipe else ""
    return f"## Training\n\n{data}{recipe}"


def _limitations(model: TwoTower, facts: ModelCardFacts) -> str:
    own = ["Its notion of likeness is that of its training data; judge it on your own data before you rely on it."]
    if model.tokenizer is not None:
        own.append(f"Texts are cut after {model.tokenizer.max_length} tokens.")
    return "## Limitations\n\n" + "\n".join(f"- {sentence}" for sentence in [*own, *facts.limitations])
