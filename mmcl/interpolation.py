"""Interpolation of two models of one architecture: WiSE-FT (arXiv:2109.01903)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mmcl.embedder import ModelEmbedder, load
from mmcl.errors import UserError
from mmcl.model import TwoTower
from mmcl.text.tokenizer import HuggingFaceTokenizer, TextTokenizer
from mmcl.towers.open_clip import OpenClipTowers

State = Mapping[str, Tensor]

# Fields of a configuration that no embedding depends on.
_WITHOUT_MEANING = re.compile(
    r"dropout|drop_path|initializer|init_value|init_std|dtype|version|name_or_path|architectures|id2label|label2id"
    r"|num_labels|problem_type|use_cache|attn_implementation|output_attentions|output_hidden_states|return_dict"
)
# Counts the batches that a batch norm has seen; only its momentum could depend on it.
_COUNTER = "num_batches_tracked"


def interpolate(a: State, b: State, alpha: float) -> dict[str, Tensor]:
    """Return (1 - alpha) * a + alpha * b, name by name; WiSE-FT (arXiv:2109.01903, section 3).

    A pure function: a sweep over alpha loads both models once, and gives each result to ``load_state_dict``. A
    temperature is in the state as its logarithm, and is interpolated so.

    Args:
        a: the pretrained model's state; alpha of 0 gives exactly it.
        b: the fine-tuned model's, on the same device; alpha of 1 gives exactly it.
        alpha: from 0 to 1.

    Returns:
        New tensors of ``a``'s dtypes. What is not floating point is ``b``'s.

    Raises:
        UserError: alpha is out of range, or names, shapes or whole numbers differ; counters of batch norm may.
    """
    _check_alpha(alpha)
    difference = next(_differences_of_states(a, b), None)
    if difference is not None:
        raise UserError(f"states of two architectures cannot be interpolated: {difference.format(a='a', b='b')}")
    with torch.no_grad():
        return {name: _mixed(tensor, b[name], alpha) for name, tensor in a.items()}


def _check_alpha(alpha: float) -> None:
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha must be from 0 to 1, got {alpha}")


def _mixed(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    if not a.is_floating_point():
        return b.detach().clone()
    # Unlike (1 - alpha) * a + alpha * b, lerp gives either end exactly, what is equal in both stays so, and half
    # precision is rounded once.
    return torch.lerp(a.detach(), b.detach().to(a.dtype), alpha)


def merge(
    a: str | os.PathLike[str], b: str | os.PathLike[str], alpha: float = 0.5, device: str | torch.device | None = None
) -> ModelEmbedder:
    """Load two models and interpolate their weights, temperature and bias.

    Args:
        a: the pretrained model: a run, a folder, a hub id, or open_clip's ``ARCH,TAG``.
        b: the fine-tuned one.
        alpha: share of ``b``, from 0 to 1.
        device: where to run; by default a GPU when there is one.

    Raises:
        UserError: a model cannot be had, alpha is out of range, or the two are not of one architecture, tokenizer
            and preprocessing; the first difference is named.
    """
    _check_alpha(alpha)  # before minutes of loading
    a, b = os.fspath(a), os.fspath(b)
    first, second = load(a, device), load(b, device)
    check_mergeable(first.model, second.model, a, b)
    model = first.model
    model.load_state_dict(interpolate(model.state_dict(), second.model.state_dict(), alpha))
    model.origin = f"{1 - alpha:g} x {a} + {alpha:g} x {b}"
    return ModelEmbedder(model, model.origin)


def check_mergeable(a: TwoTower, b: TwoTower, name_of_a: str, name_of_b: str) -> None:
    """Make sure that equal inputs go through equal arithmetic in two models, weights apart.

    Raises:
        UserError: naming the first difference.
    """
    difference = next(_differences(a, b), None)
    if difference is not None:
        raise UserError(
            f"{name_of_a} and {name_of_b} cannot be merged: {difference.format(a=name_of_a, b=name_of_b)}; merging"
            " needs one architecture, tokenizer and preprocessing, as a model and its fine-tuned copy have"
        )


def has_batch_norm(model: TwoTower) -> bool:
    """True when running statistics are among the weights: the mean of two models' are not those of the mean model."""
    return any(name.endswith("running_mean") for name in model.state_dict())


def _differences(a: TwoTower, b: TwoTower) -> Iterator[str]:
    """Yield what is different, as texts with places for {a} and {b}."""
    facts_a, facts_b = _facts(a), _facts(b)
    for key in dict.fromkeys([*facts_a, *facts_b]):
        one, other = facts_a.get(key), facts_b.get(key)
        if one != other:
            yield f"{key} is {_shown(one)} in {{a}} and {_shown(other)} in {{b}}"
    yield from _differences_of_tokenizers(a.tokenizer, b.tokenizer)
    yield from _differences_of_states(a.state_dict(), b.state_dict())


def _shown(value: object) -> str:
    return str(value).replace("{", "{{").replace("}", "}}")


def _facts(model: TwoTower) -> dict[str, Any]:
    """Return what decides about the arithmetic besides weights, flat."""
    towers = model.towers
    parts = {name: child.config for name, child in towers.named_children() if isinstance(child, PreTrainedModel)}
    kinds = [type(towers).__name__, *(config.model_type for config in parts.values())]
    facts: dict[str, Any] = {"architecture": " ".join(kinds), "pooling": towers.extra_repr()}
    for name, config in parts.items():
        facts |= _flat(config.to_dict(), f"{name}.config")
    if isinstance(towers, OpenClipTowers):
        facts |= _flat(towers.model_config, "model_cfg")
    if model.preprocessing is not None:
        facts |= _flat(model.preprocessing.to_dict(), "preprocessing")
    return facts


def _flat(fields: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}.{name}")
        elif not _WITHOUT_MEANING.search(str(name)):
            flat[f"{prefix}.{name}"] = list(value) if isinstance(value, tuple) else value
    return flat


_PROBE = ["A photo, of 2 Cats! é 中文 🙂", "the quick brown fox", ""]


def _differences_of_tokenizers(a: TextTokenizer | None, b: TextTokenizer | None) -> Iterator[str]:
    if a is None or b is None:
        return  # told by the architecture
    if a.max_length != b.max_length:
        yield f"the longest text is {a.max_length} tokens in {{a}} and {b.max_length} in {{b}}"
    if isinstance(a, HuggingFaceTokenizer) and isinstance(b, HuggingFaceTokenizer):
        # Not the file: another version of the library writes the same tokenizer otherwise.
        tokens_a, tokens_b = a.backend.get_vocab(), b.backend.get_vocab()
        # By id, for a fast tokenizer hands out its tokens in no order.
        ids_of = tokens_b | tokens_a
        for token in sorted(ids_of, key=ids_of.__getitem__):
            if tokens_a.get(token) != tokens_b.get(token):
                ids = f"{tokens_a.get(token, 'no token')} in {{a}} and {tokens_b.get(token, 'no token')} in {{b}}"
                yield f"the tokenizers differ: {_shown(repr(token))} is {ids}"
                break
    if a.pads_to_max_length != b.pads_to_max_length or a(_PROBE).input_ids.tolist() != b(_PROBE).input_ids.tolist():
        yield "the tokenizers differ: the same text has other tokens in {a} than in {b}"


def _differences_of_states(a: State, b: State) -> Iterator[str]:
    for name in dict.fromkeys([*a, *b]):
        if name not in b or name not in a:
            yield f"only {{{'a' if name in a else 'b'}}} has a {name}"
        elif a[name].shape != b[name].shape:
            yield f"{name} has shape {tuple(a[name].shape)} in {{a}} and {tuple(b[name].shape)} in {{b}}"
        elif not a[name].is_floating_point() and not name.endswith(_COUNTER) and not torch.equal(a[name], b[name]):
            yield f"{name} holds other whole numbers in {{a}} than in {{b}}"
