from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from mmcl.errors import UserError
from mmcl.model import TwoTower, build_model
from mmcl.recipe_model import ModelConfig
from mmcl.recipe_tuning import LoRAConfig
from mmcl.towers.layers import layers_of
from mmcl.towers.lora import add_lora, merged
from tests.tiny import random_batch
from tests.towers.tiny_configs import BERT, CONVNEXT, RESNET, VIT, lone_image, open_clip_of_two_layers, pair


def vit_and_bert(tokenizer: str) -> ModelConfig:
    return pair({**VIT, "num_hidden_layers": 2}, {**BERT, "num_hidden_layers": 2}, tokenizer)


def with_lora(config: ModelConfig, lora: LoRAConfig | None = None, seed: int = 0) -> TwoTower:
    model = build_model(config)
    blocks = [block for modality in model.towers.modalities for block in layers_of(model.towers, modality).blocks]
    add_lora(model.towers, blocks, lora or LoRAConfig(), seed)
    return model.eval()


def move(model: TwoTower) -> None:
    """Give the second factors, which start at 0, random values."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.3, generator=generator)


def embeddings(model: TwoTower) -> torch.Tensor:
    batch = random_batch(4, 32)
    with torch.no_grad():
        return torch.cat([model.encode_image(batch.images[0]).embeddings, model.encode_text(batch.texts[0]).embeddings])


@pytest.mark.parametrize("form", ["pair", "open_clip"])
def test_it_starts_where_the_model_is_and_is_merged_into_its_weights(form: str, tokenizer: str, tmp_path: Path) -> None:
    config = vit_and_bert(tokenizer) if form == "pair" else open_clip_of_two_layers(tmp_path)
    plain, model = build_model(config).eval(), with_lora(config)
    torch.testing.assert_close(embeddings(model), embeddings(plain))
    move(model)
    assert float((embeddings(model) - embeddings(plain)).abs().max()) > 0.01
    copy = merged(model)
    assert copy.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(embeddings(copy), embeddings(model), rtol=1e-5, atol=1e-6)
    changed = {name for name, value in copy.state_dict().items() if not torch.equal(value, plain.state_dict()[name])}
    assert changed
    assert all("weight" in name and not ("norm" in name.lower() or "ln_" in name) for name in changed)
    # The model is left as it was, for what may still be done with it.
    assert any("lora_A" in name for name, _ in model.named_parameters())


def test_an_update_is_the_product_of_its_factors_times_alpha_over_rank(tokenizer: str) -> None:
    config = vit_and_bert(tokenizer)
    plain, model = build_model(config), with_lora(config, LoRAConfig(rank=2, alpha=6))
    move(model)
    parts = dict(model.named_modules())
    name = next(key for key in parts if key.endswith("q_proj") and ".1." in key and "image_model" in key)
    layer = parts[name]
    first, second = layer.lora_A["mmcl"].weight, layer.lora_B["mmcl"].weight
    assert (first.shape[0], second.shape[1]) == (2, 2)
    expected = plain.state_dict()[f"{name}.weight"] + 3.0 * second @ first
    torch.testing.assert_close(merged(model).state_dict()[f"{name}.weight"], expected)


def test_it_alone_is_trained_within_the_blocks(tokenizer: str) -> None:
    model = build_model(vit_and_bert(tokenizer))
    add_lora(model.towers, layers_of(model.towers, "image").blocks, LoRAConfig(), 0)
    trained = {name for name, parameter in model.towers.named_parameters() if parameter.requires_grad}
    within = {name for name in trained if name.startswith("image_model") and "layer" in name and "norm" not in name}
    assert within
    assert all("lora_" in name for name in within)
    # The other tower, and what lies outside of the blocks, is as it was.
    assert "image_projection.weight" in trained
    assert any(name.startswith("text_model") and "lora" not in name for name in trained)


def test_its_start_depends_on_the_seed_alone(tokenizer: str) -> None:
    config = vit_and_bert(tokenizer)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one = with_lora(config, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    other, third = with_lora(config, seed=3), with_lora(config, seed=4)
    names = [name for name in one.state_dict() if "lora_A" in name]
    assert all(torch.equal(one.state_dict()[name], other.state_dict()[name]) for name in names)
    assert not torch.equal(one.state_dict()[names[0]], third.state_dict()[names[0]])


def test_a_model_without_updates_is_its_own_merger(tokenizer: str) -> None:
    model = build_model(vit_and_bert(tokenizer))
    assert merged(model) is model


def test_blocks_without_a_linear_layer_are_refused() -> None:
    with pytest.raises(UserError, match="lora needs linear layers"):
        with_lora(lone_image(RESNET))
    with_lora(lone_image(CONVNEXT))


def test_without_peft_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch, tokenizer: str) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"needs peft: pip install 'mmcl\[lora\]'"):
        with_lora(vit_and_bert(tokenizer))
