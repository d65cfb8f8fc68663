"""The model card: README.md with the hub's metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mmcl.export.forms import Form
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
    metadata = yaml.safe_dump(_metadata(form, facts), sort_keys=False, allow_unicode=True)
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


def _metadata(form: Form, facts: ModelCardFacts) -> dict[str, Any]:
    library, pipeline = {
        "joint": ("transformers", "zero-shot-image-classification"),
        "dual_encoder": ("transformers", "zero-shot-image-classification"),
        "router": ("sentence-transformers", "sentence-similarity"),
        "open_clip": ("open_clip", "zero-shot-image-classification"),
    }[form]
    tags = ["mmcl", "contrastive-learning", "image-text", "feature-extraction"]
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
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    scale = model.logit_scale().item()
    bias = "" if model.logit_bias is None else f", logit bias {model.logit_bias.item():.4g}"
    return (
        "Embeds pictures and texts into one space, where a picture lies near the texts that describe it.\n\n"
        "| | |\n|---|---|\n"
        f"| made from | {model.origin} |\n"
        f"| parameters | {num_parameters:,} |\n"
        f"| embedding | {model.embedding_dim} dimensions, compare by cosine |\n"
        f"| picture | {pixels.size} x {pixels.size}, {pixels.resize_mode}, {pixels.interpolation} |\n"
        f"| text | up to {tokenizer.max_length} tokens, the rest is cut |\n"
        f"| temperature | {1 / scale:.4g} (logit scale {scale:.4g}{bias}) |"
    )


def _opening(model: TwoTower, form: Form, checks: Sequence[FormCheck]) -> str:
    rows = [f"| {_TITLES[check.name]} | {_outcome(check)} |" for check in checks]
    held = {check.name for check in checks if check.holds or check.was_skipped}
    padding = '"max_length"' if model.tokenizer.pads_to_max_length else "True"
    snippets = [
        f"```python\n{_SNIPPETS[check.name].replace('PADDING', padding).strip()}\n```"
        for check in checks
        if check.name in held
    ]
    table = "| opened by | same embeddings as in training |\n|---|---|\n" + "\n".join(rows)
    note = (
        f"Compared on pictures of odd sizes and texts of odd lengths; smallest cosine, at least {MIN_COSINE} to hold."
    )
    return "\n\n".join(["## Use", table, note, *snippets, _FORM_NOTES[form]])


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
    own = [
        "Its notion of likeness is that of its training pairs; judge it on your own data before you rely on it.",
        f"Texts are cut after {model.tokenizer.max_length} tokens.",
    ]
    return "## Limitations\n\n" + "\n".join(f"- {sentence}" for sentence in [*own, *facts.limitations])


_TITLES = {
    "mmcl": "mmcl",
    "transformers": "transformers",
    "towers": "transformers, each tower alone",
    "sentence_transformers": "sentence-transformers (6 or later)",
    "open_clip": "open_clip",
}

_SNIPPETS = {
    "mmcl": """
import mmcl

model = mmcl.load("path/of/this/folder")
images, texts = model.encode_images(["cat.jpg"]), model.encode_texts(["a photo of a cat"])
""",
    "transformers": """
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("path/of/this/folder").eval()
processor = AutoProcessor.from_pretrained("path/of/this/folder")
pixels = processor(images=[Image.open("cat.jpg")], return_tensors="pt")
tokens = processor(text=["a photo of a cat"], padding=PADDING, truncation=True, return_tensors="pt")
with torch.inference_mode():
    images = model.get_image_features(**pixels).pooler_output
    texts = model.get_text_features(**tokens).pooler_output
similarity = torch.nn.functional.cosine_similarity(images, texts)
""",
    "towers": """
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

image_tower = AutoModel.from_pretrained("path/of/this/folder/image").eval()
image_processor = AutoImageProcessor.from_pretrained("path/of/this/folder/image")
text_tower = AutoModel.from_pretrained("path/of/this/folder/text").eval()
tokenizer = AutoTokenizer.from_pretrained("path/of/this/folder/text")
# then pool as mmcl.json says, and multiply by linear.weight of image_projection/ or text_projection/
""",
    "sentence_transformers": """
from PIL import Image
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/of/this/folder")
images = model.encode([Image.open("cat.jpg")])
texts = model.encode(["a photo of a cat"])
""",
    "open_clip": """
import open_clip

model, preprocess = open_clip.create_model_from_pretrained("local-dir:path/of/this/folder")
tokenizer = open_clip.get_tokenizer("local-dir:path/of/this/folder")
""",
}

_FORM_NOTES: dict[Form, str] = {
    "joint": "All files share one set of weights, the temperature among them.",
    "dual_encoder": "A `VisionTextDualEncoderModel`. All files share one set of weights, the temperature among them.",
    "router": (
        "A folder per tower, and a `Router` of sentence-transformers' own modules around them. transformers has no"
        " joint form for towers that are pooled like this, so the folder itself does not open by `AutoModel`. The"
        " temperature is in `mmcl.json`."
    ),
    "open_clip": "open_clip's own form; the temperature is among the weights.",
}
