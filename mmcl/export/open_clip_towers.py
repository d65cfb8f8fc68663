"""Towers of transformers as open_clip builds them: configuration and weights, renamed.

open_clip has conversions of other models' weights into its own, but none of transformers' CLIP and SigLIP; these are
written from the two state dicts. What cannot be expressed exactly is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor
from transformers import PreTrainedModel

from mmcl.errors import UserError

State = dict[str, Tensor]

_NORM_EPS = 1e-5  # what open_clip's layer norms have unless told otherwise
_TIMM_NORM_EPS = 1e-6  # what timm's vision transformers have, and cannot be told otherwise
_OPEN_CLIP_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_TIMM_BLOCK = {
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "self_attn.out_proj": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


class NoFormError(UserError):
    """There is no open_clip form; the message is the reason."""


@dataclass(frozen=True)
class OpenClipTower:
    """One tower as open_clip has it.

    Attributes:
        config: its ``vision_cfg`` or ``text_cfg``.
        state: its weights, named from the tower on.
        quick_gelu: its activation is CLIP's approximation; None where open_clip's switch does not reach it.
        is_custom_text: a text tower that only open_clip's ``CustomTextCLIP`` takes.
    """

    config: dict[str, Any]
    state: State
    quick_gelu: bool | None
    is_custom_text: bool = False


def vision_tower(model: PreTrainedModel, projection: Tensor | None) -> OpenClipTower:
    """Return a vision model with its projection ``(D, W)``; SigLIP's has none.

    Raises:
        NoFormError: open_clip has no such tower.
    """
    kind = model.config.model_type
    if kind in ("clip_vision_model", "metaclip_2_vision_model") and projection is not None:
        return _clip_vision(model, projection)
    if kind == "siglip_vision_model" and projection is None:
        return _siglip_vision(model)
    if kind == "timm_wrapper" and projection is not None:
        return _timm_vision(model, projection)
    raise NoFormError(f"its image tower is a {kind}")


def text_tower(model: PreTrainedModel, projection: Tensor | None, max_length: int) -> OpenClipTower:
    """Return a text model with its projection ``(D, W)``, of which SigLIP's has its own, for texts of ``max_length``.

    Raises:
        NoFormError: open_clip has no such tower.
    """
    kind = model.config.model_type
    if kind in ("clip_text_model", "metaclip_2_text_model") and projection is not None:
        return _clip_text(model, projection, max_length)
    if kind == "siglip_text_model" and projection is None:
        return _siglip_text(model, max_length)
    raise NoFormError(f"its text tower is a {kind}")


def _clip_vision(model: PreTrainedModel, projection: Tensor) -> OpenClipTower:
    config, given = model.config, model.state_dict()
    state = {
        "class_embedding": given["embeddings.class_embedding"],
        "positional_embedding": given["embeddings.position_embedding.weight"],
        "conv1.weight": given["embeddings.patch_embedding.weight"],
        "proj": projection.T.contiguous(),
        **_layer(given, "pre_layrnorm", "ln_pre"),
        **_layer(given, "post_layernorm", "ln_post"),
        **_blocks(given, config, "transformer.resblocks", _OPEN_CLIP_BLOCK, "attn.in_proj_"),
    }
    fields = {
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "head_width": config.hidden_size // config.num_attention_heads,
        **_transformer_fields(config),
    }
    return OpenClipTower(fields, state, config.hidden_act == "quick_gelu")


def _clip_text(model: PreTrainedModel, projection: Tensor, max_length: int) -> OpenClipTower:
    config, given = model.config, model.state_dict()
    if not isinstance(config.eos_token_id, int):
        raise NoFormError(f"its text tower ends texts with several tokens, {config.eos_token_id}")
    # transformers takes id 2 for the mistake in CLIP's first configurations, and then reads the largest id.
    reads_largest = config.model_type == "clip_text_model" and config.eos_token_id == 2
    pooling = {"pool_type": "argmax"} if reads_largest else {"pool_type": "eos", "eos_id": config.eos_token_id}
    fields = {**_text_fields(config, max_length), **pooling}
    state = {**_text_state(given, config, max_length), "text_projection": projection.T.contiguous()}
    return OpenClipTower(fields, state, config.hidden_act == "quick_gelu")


def _siglip_text(model: PreTrainedModel, max_length: int) -> OpenClipTower:
    config, given = model.config, model.state_dict()
    fields = {
        **_text_fields(config, max_length),
        "no_causal_mask": True,
        "pool_type": "last",
        "proj_bias": True,
    }
    state = {**_text_state(given, config, max_length), **_layer(given, "head", "text_projection")}
    return OpenClipTower(fields, state, config.hidden_act == "quick_gelu", is_custom_text=True)


def _text_fields(config: Any, max_length: int) -> dict[str, Any]:
    return {
        "context_length": max_length,
        "vocab_size": config.vocab_size,
        "heads": config.num_attention_heads,
        **_transformer_fields(config),
    }


def _text_state(given: State, config: Any, max_length: int) -> State:
    return {
        "token_embedding.weight": given["embeddings.token_embedding.weight"],
        # open_clip adds all positions to a text that is padded to all of them.
        "positional_embedding": given["embeddings.position_embedding.weight"][:max_length],
        **_layer(given, "final_layer_norm", "ln_final"),
        **_blocks(given, config, "transformer.resblocks", _OPEN_CLIP_BLOCK, "attn.in_proj_"),
    }


def _transformer_fields(config: Any) -> dict[str, Any]:
    """Return the fields that both towers share.

    Raises:
        NoFormError: an activation that open_clip cannot be told.
    """
    fields: dict[str, Any] = {
        "width": config.hidden_size,
        "layers": config.num_hidden_layers,
        "mlp_ratio": _mlp_ratio(config.hidden_size, config.intermediate_size),
    }
    if config.layer_norm_eps != _NORM_EPS:
        fields["norm_kwargs"] = {"eps": config.layer_norm_eps}
    if config.hidden_act == "gelu_pytorch_tanh":
        fields["act_kwargs"] = {"approximate": "tanh"}
    elif config.hidden_act not in ("gelu", "quick_gelu"):
        known = "gelu, quick_gelu and gelu_pytorch_tanh"
        raise NoFormError(f"its activation is {config.hidden_act}, and open_clip has {known}")
    return fields


def _mlp_ratio(width: int, inner: int) -> float:
    """Return a ratio of which open_clip's ``int(width * ratio)`` makes ``inner``, whatever rounding does to it."""
    ratio = inner / width
    return ratio if int(width * ratio) == inner else (inner + 0.5) / width


def _layer(given: State, name: str, renamed: str) -> State:
    return {f"{renamed}.{part}": given[f"{name}.{part}"] for part in ("weight", "bias")}


def _blocks(given: State, config: Any, place: str, names: dict[str, str], qkv: str) -> State:
    """Return the transformer's blocks; queries, keys and values are one matrix in open_clip and timm."""
    state: State = {}
    for number in range(config.num_hidden_layers):
        block, layer = f"{place}.{number}", f"encoder.layers.{number}"
        for name, renamed in names.items():
            state |= _layer(given, f"{layer}.{name}", f"{block}.{renamed}")
        for part in ("weight", "bias"):
            three = [given[f"{layer}.self_attn.{one}_proj.{part}"] for one in "qkv"]
            state[f"{block}.{qkv}{part}"] = torch.cat(three)
    return state


def _siglip_vision(model: PreTrainedModel) -> OpenClipTower:
    config, given = model.config, model.state_dict()
    if config.layer_norm_eps != _TIMM_NORM_EPS or config.hidden_act not in ("gelu", "gelu_pytorch_tanh"):
        raise NoFormError(
            f"SigLIP's image tower is one of timm's in open_clip, with layer norms of eps {_TIMM_NORM_EPS} and gelu;"
            f" this one has {config.layer_norm_eps} and {config.hidden_act}"
        )
    width, pool, head = config.hidden_size, "attn_pool", "head.attention"
    in_weight, in_bias = given[f"{head}.in_proj_weight"], given[f"{head}.in_proj_bias"]
    trunk = {
        "pos_embed": given["embeddings.position_embedding.weight"][None],
        **_layer(given, "embeddings.patch_embedding", "patch_embed.proj"),
        **_blocks(given, config, "blocks", _TIMM_BLOCK, "attn.qkv."),
        **_layer(given, "post_layernorm", "norm"),
        f"{pool}.latent": given["head.probe"],
        f"{pool}.q.weight": in_weight[:width],
        f"{pool}.q.bias": in_bias[:width],
        f"{pool}.kv.weight": in_weight[width:],
        f"{pool}.kv.bias": in_bias[width:],
        **_layer(given, f"{head}.out_proj", f"{pool}.proj"),
        **_layer(given, "head.layernorm", f"{pool}.norm"),
        **_layer(given, "head.mlp.fc1", f"{pool}.mlp.fc1"),
        **_layer(given, "head.mlp.fc2", f"{pool}.mlp.fc2"),
    }
    name = _siglip_of_timm(trunk, config)
    fields = {"image_size": config.image_size, "timm_model_name": name, "timm_pool": "map", "timm_proj": "none"}
    return OpenClipTower(fields, {f"trunk.{key}": tensor for key, tensor in trunk.items()}, None)


def _siglip_of_timm(trunk: State, config: Any) -> str:
    """Return the name under which timm builds exactly these shapes and heads.

    Raises:
        NoFormError: there is none, and open_clip can tell timm nothing but a name.
    """
    ending = f"_patch{config.patch_size}_siglip_{config.image_size}"
    candidates = [name for name in timm.list_models("*siglip*") if name.endswith(ending)]
    shapes = {name: tensor.shape for name, tensor in trunk.items()}
    for name in candidates:
        with torch.device("meta"):
            built = timm.create_model(name, num_classes=0)
        has_heads = built.blocks[0].attn.num_heads == config.num_attention_heads
        if has_heads and {key: one.shape for key, one in built.state_dict().items()} == shapes:
            return name
    size = f"{config.hidden_size} wide, {config.num_hidden_layers} layers, {config.num_attention_heads} heads"
    known = f"timm's {ending[1:]} are {', '.join(candidates)}" if candidates else f"timm has no *{ending}"
    raise NoFormError(f"timm has no SigLIP image tower of this size ({size}); {known}")


def _timm_vision(model: PreTrainedModel, projection: Tensor) -> OpenClipTower:
    config = model.config
    if config.model_args:
        raise NoFormError(
            f"its image tower is timm's {config.architecture} with settings of its own"
            f" ({', '.join(config.model_args)}), and open_clip can tell timm nothing but a name"
        )
    timm_model: Any = model.timm_model
    trunk = {f"trunk.{name}": tensor for name, tensor in timm_model.state_dict().items()}
    # An empty pooling leaves timm's own, as transformers does.
    fields = {"timm_model_name": config.architecture, "timm_pool": "", "timm_proj": "linear"}
    return OpenClipTower(fields, {**trunk, "head.proj.weight": projection}, None)
