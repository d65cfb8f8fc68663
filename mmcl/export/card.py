"""The model card: README.md with the hub's metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from evaluation import Change
from evaluation.changes import cells_of
from mmcl.export.forms import Form
from mmcl.export.further_packages import further_packages
from mmcl.export.snippets import FORM_NOTES, TITLES, conversions_of, prompts_of, snippet_of
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
        split: of the data; None where it is not known.
    """

    task: str
    dataset: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    split: str | None = None


@dataclass(frozen=True)
class ModelCardFacts:
    """What the card says besides what the model itself tells.

    Attributes:
        name: of the model.
        training_data: what it learnt from, in a sentence or two.
        recipe: the resolved recipe, as YAML.
        scores: numbers of evaluations, all of them.
        changes: the main metrics before fine-tuning and as it is now.
        alpha: share of the fine-tuned weights, where it was chosen; the changes are then of the other half of the
            examples.
        limitations: sentences about what it is not for.
        license: identifier for the metadata, such as ``apache-2.0``.
        languages: codes for the metadata, such as ``en``.
        base_models: hub ids of what it was made from.
        datasets: hub ids of what it learnt from.
    """

    name: str
    training_data: str = ""
    recipe: str = ""
    scores: Sequence[Score] = ()
    changes: Sequence[Change] = ()
    alpha: float | None = None
    limitations: Sequence[str] = ()
    license: str | None = None
    languages: Sequence[str] = ()
    base_models: Sequence[str] = ()
    datasets: Sequence[str] = ()


_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def hub_ids(names: Iterable[str | None]) -> list[str]:
    """Return those of ``names`` that are ids of the hub, ``OWNER/NAME``, and nothing that lies here."""
    given = dict.fromkeys(name for name in names if name)
    return [name for name in given if _HUB_ID.fullmatch(name) and not Path(name).exists()]


def write_card(path: Path, model: TwoTower, form: Form, checks: Sequence[FormCheck], facts: ModelCardFacts) -> None:
    """Write the card.

    Args:
        path: ``README.md`` of the folder.
        model: what was exported.
        form: how.
        checks: the ways to open it, with their outcomes.
        facts: what else to say.
    """
    sections = [
        f"---\n{_metadata(model, form, facts).to_yaml()}\n---",
        f"# {facts.name}",
        _summary(model),
        _opening(model, form, checks),
        _scores(facts.scores),
        _changes(facts),
        _training(facts),
        _licence(facts),
        _limitations(model, facts),
    ]
    path.write_text("\n\n".join(section for section in sections if section) + "\n", encoding="utf-8")


def _metadata(model: TwoTower, form: Form, facts: ModelCardFacts) -> ModelCardData:
    sentences = ("sentence-transformers", "sentence-similarity")
    library, pipeline = {
        "joint": ("transformers", "zero-shot-image-classification"),
        "dual_encoder": ("transformers", "zero-shot-image-classification"),
        "router": sentences,
        "open_clip": ("open_clip", "zero-shot-image-classification"),
        "single": ("transformers", "image-feature-extraction") if model.has_image_tower else sentences,
        "static": sentences,
    }[form]
    results = [_eval_result(score) for score in facts.scores if score.value is not None]
    tags = ["mmcl", "contrastive-learning", "-".join(model.towers.modalities), "feature-extraction"]
    return ModelCardData(
        model_name=facts.name if results else None,
        library_name=library,
        pipeline_tag=pipeline,
        tags=tags if form == "open_clip" else [*tags, "sentence-transformers"],
        license=facts.license,
        language=list(facts.languages) or None,
        base_model=list(facts.base_models) or None,
        datasets=list(facts.datasets) or None,
        eval_results=results or None,
    )


def _eval_result(score: Score) -> EvalResult:
    task = {"zeroshot_classification": "zero-shot-image-classification"}.get(score.task, score.task.replace("_", "-"))
    return EvalResult(
        task_type=task,
        dataset_type=score.dataset,
        dataset_name=score.dataset,
        dataset_split=score.split,
        metric_type=score.metric,
        metric_value=score.value,
    )


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
    code = [*snippets, *prompts_of(model)]
    return "\n\n".join(
        ["## Use", table, note, *further_packages(model, form), *code, FORM_NOTES[form], *conversions_of(form)]
    )


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


def _changes(facts: ModelCardFacts) -> str:
    if not facts.changes:
        return ""
    head = "| | before | now | difference | 95% interval |\n|---|---|---|---|---|"
    rows = [f"| {' | '.join(cells_of(change))} |" for change in facts.changes]
    how = "The same examples before fine-tuning and now, x 100. Guards are data that it was not to forget."
    if facts.alpha is not None:
        how += (
            f" Its weights are {1 - facts.alpha:g} times those before plus {facts.alpha:g} times the fine-tuned ones"
            " (WiSE-FT, arXiv:2109.01903), chosen by one half of the examples; the table is of the other."
        )
    return "\n\n".join(["## Before and after fine-tuning", how, "\n".join([head, *rows])])


def _percent(score: Score) -> str:
    if score.value is None:
        return "none"
    interval = "" if score.low is None or score.high is None else f" [{100 * score.low:.1f}, {100 * score.high:.1f}]"
    return f"{100 * score.value:.1f}{interval}"


def _training(facts: ModelCardFacts) -> str:
    data = facts.training_data or "What it was trained on was not stated."
    recipe = f"\n\n```yaml\n{facts.recipe.strip()}\n```" if facts.recipe else ""
    return f"## Training\n\n{data}{recipe}"


def _licence(facts: ModelCardFacts) -> str:
    stated = f"`{facts.license}`." if facts.license else "None was stated."
    bases = f" It was made from {' and '.join(f'`{name}`' for name in facts.base_models)}." if facts.base_models else ""
    duty = "The licences of what it was made from and learnt from may bind it too; to check them is up to who uses it."
    return f"## Licence\n\n{stated}{bases} {duty}"


def _limitations(model: TwoTower, facts: ModelCardFacts) -> str:
    own = ["Its notion of likeness is that of its training data; judge it on your own data before you rely on it."]
    if model.tokenizer is not None:
        own.append(f"Texts are cut after {model.tokenizer.max_length} tokens.")
    return "## Limitations\n\n" + "\n".join(f"- {sentence}" for sentence in [*own, *facts.limitations])
