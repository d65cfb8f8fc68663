"""Opening an exported folder the way others would, and comparing what comes out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoImageProcessor, AutoModel, AutoProcessor, AutoTokenizer

from mmcl.embedder import ModelEmbedder
from mmcl.export.forms import Form
from mmcl.model import TwoTower, build_model
from mmcl.recipe_model import ModelConfig
from mmcl.towers.description import (
    IMAGE_FOLDER,
    IMAGE_PROJECTION_FOLDER,
    PROJECTION_KEY,
    TEXT_FOLDER,
    TEXT_PROJECTION_FOLDER,
    Description,
)
from mmcl.towers.loading import quiet_transformers
from mmcl.towers.pooling import pool_image, pool_text
from mmcl.towers.sentence_model import dense_folders
from mmcl.towers.single import TextHead
from mmcl.towers.towers import Modality

MIN_COSINE = 0.99999
"""A form holds when no picture and no text comes out further away than this."""

TEXTS = ["a", "a photo of a cat", "the quick brown fox jumps over the lazy dog, " * 40, "Ünïcödé 中文 🙂, 12.5%"]

_NOT_INSTALLED = "not compared: sentence-transformers is not installed"

Rows = NDArray[np.float32]
Opened = Mapping[Modality, Tensor | Rows]
"""Embeddings of the test pictures and texts, of whatever modalities there are."""
Opener = Callable[[Path, TwoTower, list[Image.Image]], Opened]


@dataclass(frozen=True)
class FormCheck:
    """One way to open an exported folder.

    Attributes:
        name: ``mmcl``, ``transformers``, ``towers``, ``backbone``, ``sentence_transformers`` or ``open_clip``.
        cosine: the smallest over test pictures and texts against the model that was exported; None when not compared.
        problem: why it was not compared, or what went wrong.
    """

    name: str
    cosine: float | None
    problem: str | None = None

    @property
    def holds(self) -> bool:
        """True when it opened and gave the same embeddings."""
        return self.cosine is not None and self.cosine >= MIN_COSINE

    def __str__(self) -> str:
        outcome = self.problem or f"smallest cosine {self.cosine:.7f}, at least {MIN_COSINE} wanted"
        return f"opened by {self.name}: {outcome}"

    @property
    def was_skipped(self) -> bool:
        """True when what would open it is not installed."""
        return self.problem == _NOT_INSTALLED


def verify_export(folder: Path, model: TwoTower, form: Form) -> tuple[FormCheck, ...]:
    """Open ``folder`` in every way that its form promises, and compare with ``model`` on pictures of odd sizes.

    Args:
        folder: what was exported.
        model: what it was exported from; compared on the CPU in float32, whatever it runs on.
        form: what was written.

    Returns:
        One check per way; nothing is raised for one that fails.
    """
    reference = model if model.device.type == "cpu" else copy.deepcopy(model).cpu()
    pictures = sample_pictures()
    expected = _embedded(ModelEmbedder(reference, "reference"), pictures)
    with quiet_transformers(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        return tuple(
            _check(name, opener, folder, reference, pictures, expected) for name, opener in _OPENERS[form].items()
        )


def sample_pictures() -> list[Image.Image]:
    """Return RGB pictures that are wide, tall, small and large, smooth and noisy; always the same."""
    random = np.random.default_rng(0)
    pictures = [Image.fromarray(random.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in ((37, 301), (23, 17))]
    rows, columns = np.mgrid[0:411, 0:259]
    smooth = np.stack([rows % 256, columns % 256, (rows * columns // 64) % 256], axis=-1).astype(np.uint8)
    return [*pictures, Image.fromarray(smooth)]


def _check(
    name: str,
    opener: Opener,
    folder: Path,
    model: TwoTower,
    pictures: list[Image.Image],
    expected: Mapping[Modality, Rows],
) -> FormCheck:
    if name == "sentence_transformers" and find_spec("sentence_transformers") is None:
        return FormCheck(name, None, _NOT_INSTALLED)
    try:
        found = opener(folder, model, pictures)
        smallest = min(cosines(found[modality], reference).min() for modality, reference in expected.items())
    except Exception as error:
        # Whatever another library stumbles over belongs in the card, and must not cost the trained model.
        return FormCheck(name, None, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return FormCheck(name, float(smallest))


def cosines(rows: Tensor | Rows, reference: Rows) -> Rows:
    """Return ``(N,)`` cosines of ``(N, D)`` rows with their references, in float64."""
    found = torch.as_tensor(rows).double()
    return F.cosine_similarity(found, torch.from_numpy(reference).double()).numpy()


def _embedded(embedder: ModelEmbedder, pictures: list[Image.Image]) -> dict[Modality, Rows]:
    rows: dict[Modality, Rows] = {}
    if embedder.model.has_image_tower:
        rows["image"] = embedder.encode_images(pictures)
    if embedder.model.has_text_tower:
        rows["text"] = embedder.encode_texts(TEXTS)
    return rows


def _open_mmcl(folder: Path, model: TwoTower, pictures: list[Image.Image]) -> Opened:
    return _embedded(ModelEmbedder(build_model(ModelConfig(name=str(folder))), "copy"), pictures)


def _open_transformers(folder: Path, model: TwoTower, pictures: list[Image.Image]) -> Opened:
    opened, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    pixels = processor(images=pictures, return_tensors="pt")
    padding = "max_length" if model.tokenizer is not None and model.tokenizer.pads_to_max_length else True
    tokens = processor(text=_given(model), padding=padding, truncation=True, return_tensors="pt")
    return {
        "image": opened.get_image_features(pixel_values=pixels["pixel_values"]).pooler_output,
        "text": opened.get_text_features(**tokens).pooler_output,
    }


def _open_towers(folder: Path, model: TwoTower, pictures: list[Image.Image]) -> Opened:
    pair = Description.read(folder).pair
    assert pair is not None
    images = _pooled_pictures(folder / IMAGE_FOLDER, pair[IMAGE_FOLDER]["pooling"], pictures)
    texts = _pooled_texts(folder / TEXT_FOLDER, pair[TEXT_FOLDER]["pooling"], model)
    return {
        "image": images @ load_file(folder / IMAGE_PROJECTION_FOLDER / "model.safetensors")[PROJECTION_KEY].T,
        "text": texts @ load_file(folder / TEXT_PROJECTION_FOLDER / "model.safetensors")[PROJECTION_KEY].T,
    }


def _open_backbone(folder: Path, model: TwoTower, pictures: list[Image.Image]) -> Opened:
    single = Description.read(folder).single
    assert single is not None
    if single["modality"] == "image":
        return {"image": _pooled_pictures(folder, single["pooling"], pictures)}
    texts = _pooled_texts(folder, single["pooling"], model)
    if not single["has_head"]:
        return {"text": texts}
    for part in dense_folders(folder):
        texts = TextHead.load(part)(texts)
    return {"text": texts}


def _given(model: TwoTower) -> list[str]:
    """Return the texts as a library must be given them that does not know of a default prompt."""
    return model.prompts.before(TEXTS)


def _pooled_pictures(source: Path, pooling: str, pictures: list[Image.Image]) -> Tensor:
    pixels = AutoImageProcessor.from_pretrained(source)(pictures, return_tensors="pt")
    return pool_image(AutoModel.from_pretrained(source).eval()(**pixels), pooling)


def _pooled_texts(source: Path, pooling: str, model: TwoTower) -> Tensor:
    tokens = AutoTokenizer.from_pretrained(source)(_given(model), padding=True, truncation=True, return_tensors="pt")
    return pool_text(AutoModel.from_pretrained(source).eval()(**tokens), tokens["attention_mask"], pooling)


def _open_sentence_transformers(folder: Path, model: TwoTower, pictures: list[Image.Image]) -> Opened:
    # Imported here: it is no dependency of this package.
    from sentence_transformers import SentenceTransformer

    opened: Any = SentenceTransformer(str(folder), device="cpu")
    given: dict[Modality, list[Any]] = {"image": pictures, "text": TEXTS}
    return {modality: opened.encode(given[modality], show_progress_bar=False) for modality in model.towers.modalities}


def _open_open_clip(folder: Path, model: TwoTower, pictures: list[Image.Image]) -> Opened:
    name = f"local-dir:{folder}"
    opened, preprocess = open_clip.create_model_from_pretrained(name)
    opened.eval()
    images = opened.encode_image(torch.stack([preprocess(picture) for picture in pictures]))
    return {"image": images, "text": opened.encode_text(open_clip.get_tokenizer(name)(_given(model)))}


_OPENERS: dict[Form, dict[str, Opener]] = {
    "joint": {
        "mmcl": _open_mmcl,
        "transformers": _open_transformers,
        "sentence_transformers": _open_sentence_transformers,
    },
    "dual_encoder": {
        "mmcl": _open_mmcl,
        "transformers": _open_transformers,
        "sentence_transformers": _open_sentence_transformers,
    },
    "router": {
        "mmcl": _open_mmcl,
        "towers": _open_towers,
        "sentence_transformers": _open_sentence_transformers,
    },
    "open_clip": {"mmcl": _open_mmcl, "open_clip": _open_open_clip},
    "single": {
        "mmcl": _open_mmcl,
        "backbone": _open_backbone,
        "sentence_transformers": _open_sentence_transformers,
    },
    "static": {"mmcl": _open_mmcl, "sentence_transformers": _open_sentence_transformers},
}
