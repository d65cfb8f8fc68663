"""The files from which sentence-transformers 6 builds a model of its stock modules; written without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from safetensors.torch import save_file
from torch import Tensor, nn

from mmcl.export.pretrained import on_cpu, write_json
from mmcl.text.prompts import Prompts
from mmcl.text.tokenizer import TextTokenizer
from mmcl.towers.description import BIAS_KEY, EMBEDDING_KEY, PROJECTION_KEY
from mmcl.towers.sentence_model import MODULES_FILE, POOLINGS, PROMPTS_FILE

TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
POOLING = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
DENSE = "sentence_transformers.base.modules.dense.Dense"
NORMALIZE = "sentence_transformers.base.modules.normalize.Normalize"
ROUTER = "sentence_transformers.base.modules.router.Router"
STATIC_EMBEDDING = "sentence_transformers.sentence_transformer.modules.static_embedding.StaticEmbedding"

# A map of one position, which a flattened pooler leaves, is its own mean.
POOLING_NAMES = {**{ours: its for its, ours in POOLINGS.items()}, "flattened_pooler": "mean"}
"""What sentence-transformers calls our poolings of token features and feature maps."""


def write_modules(folder: Path, modules: list[tuple[str, str]], prompts: Prompts) -> None:
    """Write ``modules.json``, from (path, class) in order, and the settings of the whole model."""
    entries = [
        {"idx": index, "name": str(index), "path": path, "type": kind} for index, (path, kind) in enumerate(modules)
    ]
    write_json(folder / MODULES_FILE, entries)
    settings = {
        "__version__": {"sentence_transformers": "6.0.0", "transformers": transformers.__version__},
        "model_type": "SentenceTransformer",
        "prompts": dict(prompts.texts),
        "default_prompt_name": prompts.default,
        "similarity_fn_name": "cosine",
    }
    write_json(folder / PROMPTS_FILE, settings)


def write_transformer(
    folder: Path,
    outputs: dict[str, tuple[str, str]],
    *,
    is_pooled: bool,
    tokenizer: TextTokenizer | None = None,
    model_kwargs: dict[str, Any] | None = None,
) -> None:
    """Write how to call a transformers model.

    Args:
        folder: the model's own.
        outputs: per modality (``image``, ``text``) the method and the field of its result.
        is_pooled: the fields are one vector per row, not one per token.
        tokenizer: of the text modality; one that pads to a fixed length makes sentence-transformers pad so too.
        model_kwargs: passed to ``AutoModel.from_pretrained``.
    """
    settings: dict[str, Any] = {
        "transformer_task": "feature-extraction",
        "modality_config": {
            modality: {"method": method, "method_output_name": field} for modality, (method, field) in outputs.items()
        },
        "module_output_name": "sentence_embedding" if is_pooled else "token_embeddings",
    }
    if model_kwargs:
        settings["model_kwargs"] = model_kwargs
    if tokenizer is not None and tokenizer.pads_to_max_length:
        settings["processing_kwargs"] = {"text": {"padding": "max_length", "max_length": tokenizer.max_length}}
    write_json(folder / "sentence_bert_config.json", settings)


def write_pooling(folder: Path, width: int, pooling: str) -> None:
    """Write a Pooling module."""
    settings = {"embedding_dimension": width, "pooling_mode": POOLING_NAMES[pooling], "include_prompt": True}
    write_json(folder / "config.json", settings)


def write_dense(
    folder: Path, weight: Tensor, bias: Tensor | None = None, activation: type[nn.Module] = nn.Identity
) -> None:
    """Write a Dense module of ``weight`` ``(out, in)``, perhaps ``bias`` ``(out,)``, and an activation of torch's."""
    settings = {
        "in_features": weight.shape[1],
        "out_features": weight.shape[0],
        "bias": bias is not None,
        "activation_function": f"{activation.__module__}.{activation.__name__}",
        "module_input_name": "sentence_embedding",
        "module_output_name": "sentence_embedding",
    }
    write_json(folder / "config.json", settings)
    state = {PROJECTION_KEY: weight} if bias is None else {PROJECTION_KEY: weight, BIAS_KEY: bias}
    save_file(on_cpu(state), folder / "model.safetensors", metadata={"format": "pt"})


def write_static_embedding(folder: Path, weight: Tensor) -> None:
    """Write the table ``(V, D)`` of a StaticEmbedding module; its ``tokenizer.json`` goes beside it."""
    save_file(on_cpu({EMBEDDING_KEY: weight}), folder / "model.safetensors", metadata={"format": "pt"})


def write_normalize(folder: Path) -> None:
    """Write a Normalize module."""
    names = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
    write_json(folder / "config.json", names)


def write_router(folder: Path, routes: dict[str, list[tuple[str, str]]]) -> None:
    """Write a Router from modality to modules, each a (sub-folder, class); a sub-folder may serve several routes."""
    settings = {
        "types": {path: kind for modules in routes.values() for path, kind in modules},
        "structure": {route: [path for path, _ in modules] for route, modules in routes.items()},
        "parameters": {
            "default_route": "text",
            "allow_empty_key": True,
            "route_mappings": {f"(None, {route!r})": route for route in routes},
        },
    }
    write_json(folder / "router_config.json", settings)
