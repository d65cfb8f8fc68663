"""How to open a model, in code, for its card."""

from __future__ import annotations

import json

from mmcl.export.forms import Form
from mmcl.model import TwoTower

TITLES = {
    "mmcl": "mmcl",
    "transformers": "transformers",
    "towers": "transformers, each tower alone",
    "backbone": "transformers, the encoder alone",
    "sentence_transformers": "sentence-transformers (6 or later)",
    "open_clip": "open_clip",
}
"""What the card calls the ways to open a model."""

FORM_NOTES: dict[Form, str] = {
    "joint": "All files share one set of weights, the temperature among them.",
    "dual_encoder": "A `VisionTextDualEncoderModel`. All files share one set of weights, the temperature among them.",
    "router": (
        "A folder per tower, and a `Router` of sentence-transformers' own modules around them. transformers has no"
        " joint form for towers that are pooled like this, so the folder itself does not open by `AutoModel`. The"
        " temperature is in `mmcl.json`."
    ),
    "open_clip": "open_clip's own form; the temperature is among the weights.",
    "single": (
        "The encoder itself, as transformers opens it, and sentence-transformers' own modules for pooling and what"
        " follows. Heads that only training needed are not in it."
    ),
    "static": (
        "A table of token vectors: a text is the mean of its tokens, special tokens not counted. It is no transformers"
        " model, so the folder does not open by `AutoModel`."
    ),
}
"""What there is to know about a form."""


def snippet_of(way: str, model: TwoTower) -> str:
    """Return the code that opens ``model`` in a way of `TITLES`, without the lines of a modality that it lacks."""
    if way == "backbone":
        return (_IMAGE_BACKBONE if model.has_image_tower else _TEXT_BACKBONE).strip()
    pads = model.tokenizer is not None and model.tokenizer.pads_to_max_length
    lines = _SNIPPETS[way].replace("PADDING", '"max_length"' if pads else "True").strip().split("\n")
    lacking = [*(() if model.has_image_tower else _IMAGE_MARKS), *(() if model.has_text_tower else _TEXT_MARKS)]
    return "\n".join(line for line in lines if not any(mark in line for mark in lacking))


def prompts_of(model: TwoTower) -> list[str]:
    """Return how texts are encoded behind the prompts of a model, in parts of a card; nothing where it has none."""
    named = {name: text for name, text in model.prompts.texts.items() if text}
    if not named:
        return []
    said = [f"`{name}` is {json.dumps(text, ensure_ascii=False)}" for name, text in named.items()]
    default = model.prompts.default
    without = "none" if default is None else f"`{default}`"
    name = next(iter(named))
    code = f"""
```python
texts = model.encode(["a photo of a cat"], prompt_name="{name}")  # sentence-transformers
texts = model.encode_texts(["a photo of a cat"], prompt="{name}")  # mmcl
```"""
    return [f"Prompts go before the texts, by name: {', '.join(said)}; without a name, {without}.", code.strip()]


def conversions_of(form: Form) -> list[str]:
    """Return how a model of a form gets into the libraries that do not open it as it is, in parts of a card."""
    if form == "open_clip":
        return []
    ways = {"onnxruntime": "onnx"} | ({"open_clip": "open_clip"} if form in ("joint", "dual_encoder") else {})
    lines = [f"mmcl export path/of/this/folder --to {name} -o {name}" for name in ways.values()]
    libraries = " or ".join(ways)
    said = f"For {libraries}, convert it, where that has a form for it; the new folder's own card has the code:"
    return [said, "\n".join(["```sh", *lines, "```"])]


_IMAGE_MARKS, _TEXT_MARKS = ("images = ", "PIL"), ("texts = ",)
"""What tells the lines of one modality, in the ways that open a model of either."""

_SNIPPETS = {
    "mmcl": """
import mmcl

model = mmcl.load("path/of/this/folder")
images = model.encode_images(["cat.jpg"])
texts = model.encode_texts(["a photo of a cat"])
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

_IMAGE_BACKBONE = """
from PIL import Image
from transformers import AutoImageProcessor, AutoModel

model = AutoModel.from_pretrained("path/of/this/folder").eval()
processor = AutoImageProcessor.from_pretrained("path/of/this/folder")
output = model(**processor(images=[Image.open("cat.jpg")], return_tensors="pt"))
# then pool as mmcl.json says
"""

_TEXT_BACKBONE = """
from transformers import AutoModel, AutoTokenizer

model = AutoModel.from_pretrained("path/of/this/folder").eval()
tokenizer = AutoTokenizer.from_pretrained("path/of/this/folder")
output = model(**tokenizer(["a photo of a cat"], padding=True, truncation=True, return_tensors="pt"))
# then pool as mmcl.json says; where there is a head/, its linear layer and activation follow
"""
