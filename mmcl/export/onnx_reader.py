"""The code that lies beside ONNX graphs: from pictures and strings to vectors with onnxruntime alone."""

from __future__ import annotations

from PIL import Image
from torchvision.transforms import InterpolationMode

from mmcl.model import TwoTower
from mmcl.towers.preprocessing import PILLOW_FILTERS, ImagePreprocessing


def reader_of(model: TwoTower) -> str:
    """Return a Python module with ``embed_images`` and ``embed_texts``, of what the model has."""
    parts = [_head(model)]
    if model.preprocessing is not None:
        parts.append(_images(model.preprocessing))
    if model.has_text_tower:
        parts.append(_TEXTS)
    return "\n\n".join(parts)


def _head(model: TwoTower) -> str:
    lines = ["from pathlib import Path", "", "import numpy as np", "import onnxruntime"]
    if model.has_image_tower:
        lines.append("from PIL import Image, ImageOps")
    if model.has_text_tower:
        lines.append("from tokenizers import Tokenizer")
    return "\n".join([*lines, "", "FOLDER = Path(__file__).parent"])


def _images(pixels: ImagePreprocessing) -> str:
    side = pixels.resize_to or pixels.size
    code = _SQUASH if pixels.resize_mode == "squash" else _SHORTEST
    rounding = "int" if pixels.crop_rounding == "down" else "round"
    filter_name = Image.Resampling(PILLOW_FILTERS[InterpolationMode(pixels.interpolation)]).name
    values = {
        "SIDE": str(side),
        "SIZE": str(pixels.size),
        "MEAN": repr(list(pixels.mean)),
        "STD": repr(list(pixels.std)),
        "FILTER": f"Image.Resampling.{filter_name}",
    }
    head = "\n".join(f"{name} = {value}" for name, value in values.items())
    return f"{head}\n{_IMAGES.replace('RESIZED', code).replace('ROUNDED', rounding)}"


_SHORTEST = """\
    if height <= width:
        height, width = SIDE, int(SIDE * width / height)
    else:
        height, width = int(SIDE * height / width), SIDE
"""

_SQUASH = """\
    height = width = SIDE
"""

_IMAGES = """image_session = onnxruntime.InferenceSession(FOLDER / "image.onnx")


def pixels_of(image):
    \"""Return (3, SIZE, SIZE) float32 of a PIL image.\"""
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:  # lies on white
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    width, height = image.size
RESIZED    image = image.resize((width, height), FILTER)
    left, top = ROUNDED((width - SIZE) / 2), ROUNDED((height - SIZE) / 2)
    image = image.crop((left, top, left + SIZE, top + SIZE))
    pixels = np.asarray(image, dtype=np.float32) / 255
    return ((pixels - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)


def embed_images(images):
    \"""Return (N, D) float32 unit vectors of PIL images.\"""
    pixels = np.stack([pixels_of(image) for image in images])
    return image_session.run(None, {"pixel_values": pixels})[0]
"""

_TEXTS = """text_session = onnxruntime.InferenceSession(FOLDER / "text.onnx")
tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


def embed_texts(texts):
    \"""Return (N, D) float32 unit vectors of strings.\"""
    encoded = tokenizer.encode_batch(list(texts))
    inputs = {
        "input_ids": np.array([one.ids for one in encoded], dtype=np.int64),
        "attention_mask": np.array([one.attention_mask for one in encoded], dtype=np.int64),
    }
    wanted = {one.name for one in text_session.get_inputs()}
    return text_session.run(None, {name: rows for name, rows in inputs.items() if name in wanted})[0]
"""
