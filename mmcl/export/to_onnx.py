"""A model as ONNX graphs, with all that onnxruntime alone needs to embed pictures and texts."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmcl.batch import TokenBatch
from mmcl.embedder import ModelEmbedder
from mmcl.errors import RunError, UserError
from mmcl.export.export import flush
from mmcl.export.onnx_reader import reader_of
from mmcl.export.pretrained import write_json
from mmcl.export.verify import MIN_COSINE, TEXTS, FormCheck, cosines, sample_pictures
from mmcl.model import TwoTower
from mmcl.text.tokenizer import HuggingFaceTokenizer
from mmcl.towers.static import StaticTokenizer
from mmcl.towers.towers import Modality, Towers

IMAGE_FILE, TEXT_FILE = "image.onnx", "text.onnx"
TOKENIZER_FILE, PREPROCESSOR_FILE = "tokenizer.json", "preprocessor_config.json"
OUTPUT = "embeddings"
READER_FILE = "embed.py"

_LARGEST_FILE = 1_900_000_000  # bytes of weights: a file of protobuf ends at 2 GiB
NOT_COMPARED = "not compared: onnxruntime or tokenizers is not installed"


@dataclass(frozen=True)
class OnnxReport:
    """What was exported.

    Attributes:
        folder: where it is.
        modalities: which graphs it holds.
        check: onnxruntime's embeddings beside the model's, or why they were not compared.
    """

    folder: Path
    modalities: tuple[Modality, ...]
    check: FormCheck


class _ImageGraph(nn.Module):
    def __init__(self, towers: Towers) -> None:
        super().__init__()
        self.towers = towers

    def forward(self, pixel_values: Tensor) -> Tensor:
        return F.normalize(self.towers.encode_image(pixel_values)[1], dim=-1)


class _TextGraph(nn.Module):
    def __init__(self, towers: Towers) -> None:
        super().__init__()
        self.towers = towers

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return F.normalize(self.towers.encode_text(TokenBatch(input_ids, attention_mask))[1], dim=-1)


def check_onnx_is_installed() -> None:
    """Make sure that torch can write ONNX.

    Raises:
        UserError: with the line that installs what is missing.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise UserError(f'--to onnx needs {" and ".join(missing)}, not installed here: pip install "mmcl[onnx]"')


def export_to_onnx(model: TwoTower, folder: Path, name: str) -> OnnxReport:
    """Write ``image.onnx`` and ``text.onnx``, what goes before them, and code that uses them; compare with the model.

    ``image.onnx`` takes ``pixel_values``, normalised float32 ``(B, 3, H, W)``; ``text.onnx`` takes ``input_ids`` and
    ``attention_mask``, int64 ``(B, L)``. Both return ``embeddings``, float32 ``(B, D)`` of unit norm. B is free, and L
    too unless the model wants texts of a fixed length.

    Args:
        model: on any device; left as it is.
        folder: a new or an empty one.
        name: of the model, for its README.

    Raises:
        UserError: onnx is not installed, or the tokenizer has no form that other libraries read.
        RunError: onnxruntime gives other embeddings; nothing is kept.
    """
    check_onnx_is_installed()
    reference = deepcopy(model).cpu().eval()
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        _write_preprocessing(reference, aside)
        for modality in reference.towers.modalities:
            _write_graph(reference, modality, aside)
        reader = reader_of(reference)
        (aside / READER_FILE).write_text(reader, encoding="utf-8")
        check = verify_onnx(aside, reference)
        if not check.holds and check.problem != NOT_COMPARED:
            raise RunError(f"nothing was written: {check}")
        (aside / "README.md").write_text(_readme(reference, name, reader, check), encoding="utf-8")
        flush(aside)
        if folder.exists():
            folder.rmdir()
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return OnnxReport(folder, reference.towers.modalities, check)


def _write_preprocessing(model: TwoTower, folder: Path) -> None:
    if model.preprocessing is not None:
        model.preprocessing.to_processor().save_pretrained(folder)
    if model.tokenizer is not None:
        write_json(folder / TOKENIZER_FILE, _tokenizer(model))


def _tokenizer(model: TwoTower) -> dict[str, Any]:
    """Return ``tokenizer.json`` with cutting and padding in it, so that ``tokenizers`` alone does all of it.

    Raises:
        UserError: it is open_clip's own, or another that is written in Python.
    """
    tokenizer = model.tokenizer
    fast = getattr(getattr(tokenizer, "backend", None), "backend_tokenizer", None)
    if not isinstance(tokenizer, HuggingFaceTokenizer) or fast is None:
        raise UserError(
            f"{model.origin}: its tokenizer has no tokenizer.json, which onnxruntime's users need; take the same model"
            " from transformers, whose tokenizer has"
        )
    fields: dict[str, Any] = json.loads(fast.to_str())
    backend = tokenizer.backend
    fields["truncation"] = {
        "strategy": "LongestFirst",
        "direction": backend.truncation_side.capitalize(),
        "max_length": tokenizer.max_length,
        "stride": 0,
    }
    fields["padding"] = {
        "strategy": {"Fixed": tokenizer.max_length} if tokenizer.pads_to_max_length else "BatchLongest",
        "direction": backend.padding_side.capitalize(),
        "pad_to_multiple_of": None,
        "pad_id": backend.pad_token_id,
        "pad_type_id": 0,
        "pad_token": backend.pad_token,
    }
    if isinstance(tokenizer, StaticTokenizer):
        fields["post_processor"] = None  # which would add special tokens
    return fields


def _write_graph(model: TwoTower, modality: Modality, folder: Path) -> None:
    graph, inputs, free = _traced(model, modality)
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in graph.state_dict().values())
    with _quiet_exporter(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.onnx.export(
            graph,
            (),
            folder / (IMAGE_FILE if modality == "image" else TEXT_FILE),
            kwargs=inputs,
            input_names=list(inputs),
            output_names=[OUTPUT],
            dynamic_shapes=dict.fromkeys(inputs, free),
            dynamo=True,
            external_data=num_bytes > _LARGEST_FILE,
            verbose=False,
        )


def _traced(model: TwoTower, modality: Modality) -> tuple[nn.Module, dict[str, Tensor], dict[int, str]]:
    """Return what is traced, two examples of its inputs, and which of their dimensions are free."""
    if modality == "image":
        assert model.preprocessing is not None
        size = model.preprocessing.size
        return _ImageGraph(model.towers), {"pixel_values": torch.zeros(2, 3, size, size)}, {0: "batch"}
    assert model.tokenizer is not None
    # Of two lengths, so that the tracer sees padding; long enough that no dimension is 1.
    tokens = model.tokenizer(["a photo of a cat", "a"])
    inputs = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
    length = {} if model.tokenizer.pads_to_max_length else {1: "length"}
    return _TextGraph(model.towers), inputs, {0: "batch", **length}


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hold back what torch's exporter warns of and logs; what matters is that the numbers agree, and is checked."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def verify_onnx(folder: Path, model: TwoTower) -> FormCheck:
    """Run the code that lies in the folder, and compare with the model on pictures of odd sizes.

    Args:
        folder: what was exported.
        model: what it was exported from, on the CPU.

    Returns:
        The smallest cosine over pictures and texts; not compared where onnxruntime is not installed.
    """
    if find_spec("onnxruntime") is None or find_spec("tokenizers") is None:
        return FormCheck("onnxruntime", None, NOT_COMPARED)
    embedder, found = ModelEmbedder(model, "reference"), []
    names: dict[str, Any] = {"__name__": "embed", "__file__": str(folder / READER_FILE)}
    try:
        exec(compile((folder / READER_FILE).read_text(encoding="utf-8"), READER_FILE, "exec"), names)
        pictures = sample_pictures()
        if model.has_image_tower:
            found.append((names["embed_images"](pictures), embedder.encode_images(pictures)))
        if model.has_text_tower:
            found.append((names["embed_texts"](model.prompts.before(TEXTS)), embedder.encode_texts(TEXTS)))
        smallest = min(float(cosines(rows, expected).min()) for rows, expected in found)
    except Exception as error:
        # Whatever onnxruntime or the code stumbles over is the outcome.
        return FormCheck("onnxruntime", None, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return FormCheck("onnxruntime", smallest)


def _readme(model: TwoTower, name: str, reader: str, check: FormCheck) -> str:
    graphs = {
        "image": f"| `{IMAGE_FILE}` | `pixel_values`: float32 (B, 3, H, W), normalised | `{OUTPUT}`: float32 (B, D) |",
        "text": f"| `{TEXT_FILE}` | `input_ids`, `attention_mask`: int64 (B, L) | `{OUTPUT}`: float32 (B, D) |",
    }
    rows = "\n".join(graphs[modality] for modality in model.towers.modalities)
    outcome = str(check.problem)
    if check.cosine is not None:
        outcome = f"smallest cosine {check.cosine:.7f}, at least {MIN_COSINE} to hold"
    scale = ""
    if len(model.towers.modalities) == 2:
        bias = "" if model.logit_bias is None else f", the logit bias {model.logit_bias.item():.6g}"
        scale = f" The logit scale is {model.logit_scale().item():.6g}{bias}."
    return f"""# {name}

ONNX graphs, made from {model.origin}.

Embeddings are unit vectors of {model.embedding_dim} dimensions; their inner products are cosines.{scale}

| graph | inputs | output |
|---|---|---|
{rows}

B is free, and L too unless the tokenizer pads to a fixed length. `{READER_FILE}` is all it takes, preprocessing
included, with `pip install onnxruntime numpy pillow tokenizers`:

```python
{reader.strip()}
```

Compared with the model that it was made from, by onnxruntime on a CPU, on pictures of odd sizes and texts of odd
lengths: {outcome}.
"""
