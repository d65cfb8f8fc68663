from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from transformers import (
    AutoModel,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    CLIPImageProcessor,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from mmcl.errors import UserError
from mmcl.model import build_model
from mmcl.recipe_model import ModelConfig
from mmcl.towers.loading import load_config
from mmcl.towers.pair import PairTowers, build_pair
from mmcl.towers.towers import LoadedTowers
from tests.tiny import save_tokenizer
from tests.towers import tiny_configs as tiny
from tests.towers.tiny_configs import joint, pair
from tokenizers import Tokenizer, models, processors

PIXELS = torch.rand(3, 3, 32, 32)
TEXTS = ["alpha", "a greek letter", "one two black white"]


def towers_of(loaded: LoadedTowers) -> PairTowers:
    assert isinstance(loaded.towers, PairTowers)
    return loaded.towers.eval()


@pytest.mark.parametrize(
    ("image", "text", "poolings", "dims"),
    [
        (tiny.VIT, tiny.BERT, ("mean", "mean"), (16, 16)),
        (tiny.CLIP_VISION, tiny.GPT2, ("pooler", "mean"), (16, 16)),
        (tiny.CONVNEXT, tiny.ROBERTA, ("pooler", "mean"), (16, 16)),
        (tiny.RESNET, tiny.BERT, ("flattened_pooler", "mean"), (16, 16)),
        (tiny.TIMM_RESNET, tiny.CLIP_TEXT, ("pooler", "pooler"), (24, 16)),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else None,
)
def test_auto_pooling_of_fresh_towers(
    tokenizer: str, image: Any, text: Any, poolings: tuple[str, str], dims: tuple[int, int]
) -> None:
    loaded = build_pair(pair(image, text, tokenizer))
    towers = towers_of(loaded)
    assert (towers.image_pooling, towers.text_pooling) == poolings
    assert (towers.image_dim, towers.text_dim) == dims
    features, projected = towers.encode_image(PIXELS)
    assert features.shape == (3, dims[0])
    assert projected.shape == (3, 8)
    features, projected = towers.encode_text(loaded.tokenizer(TEXTS))
    assert features.shape == (3, dims[1])
    assert projected.shape == (3, 8)


@pytest.mark.parametrize("pooling", ["cls", "mean", "last", "pooler"])
def test_text_embeddings_do_not_depend_on_padding(tokenizer: str, pooling: str) -> None:
    loaded = build_pair(pair(tiny.VIT, tiny.BERT, tokenizer, text_fields={"pooling": pooling}))
    towers = towers_of(loaded)
    together = towers.encode_text(loaded.tokenizer(TEXTS))[1]
    alone = torch.cat([towers.encode_text(loaded.tokenizer([text]))[1] for text in TEXTS])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("image_pooling", "text_pooling", "unused"),
    [("mean", "mean", {"image", "text"}), ("pooler", "mean", {"text"}), ("pooler", "pooler", set())],
)
def test_poolers_that_are_not_used_are_not_there(
    tokenizer: str, image_pooling: str, text_pooling: str, unused: set[str]
) -> None:
    config = pair(tiny.VIT, tiny.BERT, tokenizer, {"pooling": image_pooling}, {"pooling": text_pooling})
    towers = build_pair(config).towers
    names = [name for name, _ in towers.named_parameters() if "pooler" in name]
    assert {side for side in ("image", "text") if not any(name.startswith(side) for name in names)} == unused


def test_every_trained_parameter_has_a_gradient(tokenizer: str) -> None:
    loaded = build_pair(pair(tiny.DINOV2, tiny.BERT, tokenizer))
    total = loaded.towers.encode_image(PIXELS)[1].sum() + loaded.towers.encode_text(loaded.tokenizer(TEXTS))[1].sum()
    total.backward()
    frozen = {name for name, parameter in loaded.towers.named_parameters() if not parameter.requires_grad}
    assert frozen == {"image_model.embeddings.mask_token"}
    assert all(p.grad is not None for p in loaded.towers.parameters() if p.requires_grad)


def test_fresh_timm_towers_start_as_timm_starts_them(tokenizer: str) -> None:
    model = build_pair(pair(tiny.TIMM_RESNET, tiny.BERT, tokenizer)).towers.image_model.timm_model
    fresh = timm.create_model("resnet18", num_classes=0, **tiny.TIMM_RESNET["model_args"])
    for name in ("layer1.0.conv1.weight", "layer4.1.conv2.weight"):
        ratio = model.state_dict()[name].std() / fresh.state_dict()[name].std()
        assert 0.9 < ratio < 1.1


def test_projections_start_as_clips_do(tokenizer: str) -> None:
    towers = build_pair(pair(tiny.TIMM_RESNET, tiny.BERT, tokenizer, embedding_dim=64)).towers
    for projection in (towers.image_projection, towers.text_projection):
        assert projection.bias is None
        assert 0.9 < projection.weight.std() * projection.in_features**0.5 < 1.1


def test_decoders_keep_no_cache(tokenizer: str) -> None:
    loaded = build_pair(pair(tiny.VIT, tiny.GPT2, tokenizer))
    tokens = loaded.tokenizer(TEXTS)
    output = towers_of(loaded).text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
    assert output.past_key_values is None


def test_fresh_text_towers_have_the_tokenizers_vocabulary(tokenizer: str) -> None:
    config = build_pair(pair(tiny.VIT, tiny.CLIP_TEXT, tokenizer)).towers.text_model.config
    assert (config.vocab_size, config.pad_token_id, config.bos_token_id, config.eos_token_id) == (18, 0, 2, 3)


def test_roberta_has_fewer_positions_than_its_table(tokenizer: str) -> None:
    loaded = build_pair(pair(tiny.VIT, tiny.ROBERTA, tokenizer))
    assert loaded.tokenizer.max_length == 11
    loaded.towers.encode_text(loaded.tokenizer(["a " * 40]))


def save_image_model(model: Any, folder: Path) -> str:
    model.save_pretrained(folder)
    CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_mean=[0.1, 0.2, 0.3]
    ).save_pretrained(folder)
    return str(folder)


def test_pretrained_towers_keep_weights_preprocessing_and_tokenizer(tmp_path: Path) -> None:
    vit = ViTModel(ViTConfig(**tiny.PATCHES))
    bert = BertForMaskedLM(BertConfig(**tiny.POSITIONS, vocab_size=18))
    image = save_image_model(vit, tmp_path / "vit")
    bert.save_pretrained(tmp_path / "bert")
    save_tokenizer(tmp_path / "bert")
    loaded = build_pair(ModelConfig(image=image, text=str(tmp_path / "bert"), embedding_dim=8))  # type: ignore[arg-type]
    towers = towers_of(loaded)
    assert torch.equal(towers.image_model.layernorm.weight, vit.layernorm.weight)
    assert torch.equal(towers.text_model.embeddings.word_embeddings.weight, bert.bert.embeddings.word_embeddings.weight)
    assert loaded.preprocessing.mean == (0.1, 0.2, 0.3)
    assert loaded.tokenizer.max_length == 12
    assert towers.image_pooling == "pooler", "its pooler is trained"
    assert towers.text_pooling == "mean"


def test_a_pooler_that_the_checkpoint_lacks_is_not_used(tmp_path: Path, tokenizer: str) -> None:
    image = save_image_model(ViTForImageClassification(ViTConfig(**tiny.PATCHES)), tmp_path / "vit")
    config = ModelConfig(image=image, text={"config": tiny.BERT, "tokenizer": tokenizer})  # type: ignore[arg-type]
    assert towers_of(build_pair(config)).image_pooling == "mean"


def test_one_tower_of_a_joint_model_by_its_name(tmp_path: Path, tokenizer: str) -> None:
    clip = build_model(joint("clip", tokenizer)).towers.model
    clip.logit_scale = torch.nn.Parameter(torch.tensor(1.0))
    image = save_image_model(clip, tmp_path / "clip")
    save_tokenizer(tmp_path / "clip")
    towers = towers_of(build_pair(ModelConfig(image=image, text=image, embedding_dim=8)))  # type: ignore[arg-type]
    expected = clip.vision_model(PIXELS).pooler_output
    torch.testing.assert_close(towers.encode_image(PIXELS)[0], expected)
    assert type(towers.text_model).__name__ == "CLIPTextModel"


def test_architecture_alone_takes_random_weights(tmp_path: Path, tokenizer: str) -> None:
    vit = ViTModel(ViTConfig(**tiny.PATCHES))
    image = save_image_model(vit, tmp_path / "vit")
    text = {"config": tiny.BERT, "tokenizer": tokenizer}
    config = ModelConfig(image={"name": image, "pretrained": False}, text=text)  # type: ignore[arg-type]
    weights = towers_of(build_pair(config)).image_model.layers[0].state_dict()
    name = next(name for name in weights if name.endswith("weight") and weights[name].dim() == 2)
    assert not torch.equal(weights[name], vit.layers[0].state_dict()[name])


def test_recipe_overrides_preprocessing(tokenizer: str) -> None:
    fields = {"image_mean": (0.0, 0.1, 0.2), "image_std": (1.0, 1.0, 1.0)}
    preprocessing = build_pair(pair(tiny.CONVNEXT, tiny.BERT, tokenizer, fields)).preprocessing
    assert (preprocessing.size, preprocessing.mean, preprocessing.std) == (32, (0.0, 0.1, 0.2), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("image", "text", "image_fields", "text_fields", "message"),
    [
        (tiny.VIT, tiny.BERT, {"image_size": 48}, {}, "a fresh vit does not take pictures of 48 x 48 pixels: .*"),
        (tiny.RESNET, tiny.BERT, {"pooling": "cls"}, {}, "has no class token; image.pooling must be pooler or mean"),
        (tiny.VIT, tiny.GPT2, {}, {"pooling": "pooler"}, "has no pooler of its own; text.pooling must be cls, mean"),
        (tiny.VIT, tiny.BERT, {}, {"max_length": 13}, "max_length of a fresh bert must be at most 12"),
        (tiny.BERT, tiny.BERT, {}, {}, "a fresh bert does not take pictures"),
        (tiny.VIT, tiny.VIT, {}, {}, "a fresh vit .vit. is not a text encoder"),
        ({"model_type": "clip"}, tiny.BERT, {}, {}, "a fresh clip is a joint model"),
        (
            tiny.VIT,
            {"model_type": "t5", "d_model": 16},
            {},
            {},
            "is an encoder and a decoder .t5.; a tower is an encoder",
        ),
        (tiny.VIT, {"model_type": "siglip_text_model"}, {}, {}, "a siglip_text_model cannot be a tower"),
        ({**tiny.VIT, "hidden_sise": 8}, tiny.BERT, {}, {}, 'vit has no "hidden_sise". Did you mean "hidden_size"'),
        ({"model_type": "vitt"}, tiny.BERT, {}, {}, 'transformers knows no "vitt". Did you mean "vit"'),
        ({**tiny.VIT, "hidden_size": "x"}, tiny.BERT, {}, {}, "config of vit: .*hidden_size"),
        ({**tiny.TIMM_RESNET, "architecture": "resnet1"}, tiny.BERT, {}, {}, "cannot build a timm_wrapper model"),
    ],
)
def test_towers_that_do_not_fit_are_refused(
    tokenizer: str, image: Any, text: Any, image_fields: Any, text_fields: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build_pair(pair(image, text, tokenizer, image_fields, text_fields))


def save_clip_like_tokenizer(folder: Path, end_id: int, appends_end: bool = True) -> str:
    names = ["<pad>", "<s>", "<x>", "alpha"]
    names.insert(end_id, "</s>")
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<pad>"))
    if appends_end:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end_id)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", bos_token="<s>", model_max_length=12
    )
    fast.save_pretrained(folder)
    return str(folder)


def test_clip_text_is_pooled_at_the_end_token(tmp_path: Path) -> None:
    loaded = build_pair(pair(tiny.VIT, tiny.CLIP_TEXT, save_clip_like_tokenizer(tmp_path, 1)))
    towers, tokens = towers_of(loaded), loaded.tokenizer(["alpha", "<x>"])
    states = towers.text_model(tokens.input_ids, tokens.attention_mask).last_hidden_state
    torch.testing.assert_close(towers.encode_text(tokens)[0], states[:, -1])


def test_clip_text_refuses_an_end_token_that_transformers_misreads(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot have an end token with id 2"):
        build_pair(pair(tiny.VIT, tiny.CLIP_TEXT, save_clip_like_tokenizer(tmp_path, 2)))


def test_clip_text_refuses_a_tokenizer_that_ends_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pooled at the end token, which its tokenizer does not put"):
        build_pair(pair(tiny.VIT, tiny.CLIP_TEXT, save_clip_like_tokenizer(tmp_path, 1, appends_end=False)))


def test_a_tokenizer_too_large_for_a_pretrained_model_is_refused(tmp_path: Path, tokenizer: str) -> None:
    BertModel(BertConfig(**tiny.POSITIONS, vocab_size=10)).save_pretrained(tmp_path)
    config = ModelConfig(image={"config": tiny.VIT}, text={"name": str(tmp_path), "tokenizer": tokenizer})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="has 18 ids, but the model embeds only 10"):
        build_pair(config)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, tokenizer: str) -> None:
    ViTModel(ViTConfig(**tiny.PATCHES)).save_pretrained(tmp_path)
    other = ViTConfig(**{**tiny.PATCHES, "num_hidden_layers": 2})
    other.save_pretrained(tmp_path)
    assert load_config(str(tmp_path)).num_hidden_layers == 2
    assert len(AutoModel.from_config(other).layers) == 2
    text = {"config": tiny.BERT, "tokenizer": tokenizer}
    with pytest.raises(UserError, match=r"lacks \d+ weights of its model, such as layers"):
        build_pair(ModelConfig(image=str(tmp_path), text=text))  # type: ignore[arg-type]
