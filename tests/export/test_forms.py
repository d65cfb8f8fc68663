from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mmcl.batch_norm import GlobalBatchNorm
from mmcl.errors import UserError
from mmcl.export.forms import form_of, write_form
from mmcl.model import TwoTower, build_model
from mmcl.recipe_model import ModelConfig
from tests.towers import tiny_configs as tiny
from tests.towers.tiny_configs import joint, lone_image, lone_text, pair


def write(model: TwoTower, folder: Path) -> Path:
    folder.mkdir()
    write_form(model, folder, form_of(model))
    return folder


@pytest.mark.parametrize(
    ("image", "text", "poolings", "form"),
    [
        (tiny.TIMM_RESNET, tiny.CLIP_TEXT, ("auto", "auto"), "dual_encoder"),
        (tiny.CONVNEXT, tiny.BERT, ("auto", "pooler"), "dual_encoder"),
        (tiny.VIT, tiny.CLIP_TEXT, ("pooler", "auto"), "dual_encoder"),
        (tiny.VIT, tiny.BERT, ("auto", "auto"), "router"),
        (tiny.CONVNEXT, tiny.BERT, ("mean", "pooler"), "router"),
        (tiny.TIMM_RESNET, tiny.CLIP_TEXT, ("auto", "last"), "router"),
        # Its pooler leaves a map, which no dual encoder takes.
        (tiny.RESNET, tiny.CLIP_TEXT, ("auto", "auto"), "router"),
    ],
)
def test_form_of_a_pair_goes_by_its_poolings(
    tokenizer: str, image: Any, text: Any, poolings: tuple[str, str], form: str
) -> None:
    config = pair(image, text, tokenizer, {"pooling": poolings[0]}, {"pooling": poolings[1]})
    assert form_of(build_model(config)) == form


def test_form_of_whole_models(tokenizer: str, open_clip_name: str) -> None:
    assert form_of(build_model(joint("clip", tokenizer))) == "joint"
    assert form_of(build_model(ModelConfig(name=open_clip_name, pretrained=False))) == "open_clip"


def modules_of(folder: Path) -> list[tuple[str, str]]:
    entries = json.loads((folder / "modules.json").read_text())
    return [(entry["path"], entry["type"].rsplit(".", 1)[-1]) for entry in entries]


def test_a_lone_text_tower_is_stock_modules(tokenizer: str, tmp_path: Path) -> None:
    model = build_model(lone_text(tiny.BERT, tokenizer, pooling="cls"))
    pooled = [("", "Transformer"), ("pooling", "Pooling")]
    last = [("normalize", "Normalize")]
    assert modules_of(write(model, tmp_path / "unsupervised")) == [*pooled, *last]
    model.keep_text_head()
    folder = write(model, tmp_path / "supervised")
    assert modules_of(folder) == [*pooled, ("head", "Dense"), *last]
    head = json.loads((folder / "head" / "config.json").read_text())
    assert (head["bias"], head["activation_function"]) == (True, "torch.nn.modules.activation.Tanh")
    assert json.loads((folder / "pooling" / "config.json").read_text())["pooling_mode"] == "cls"
    assert form_of(model) == "single"


def test_a_lone_image_tower_is_stock_modules(tmp_path: Path) -> None:
    assert modules_of(write(build_model(lone_image(tiny.TIMM_RESNET)), tmp_path / "pooled")) == [
        ("", "Transformer"),
        ("normalize", "Normalize"),
    ]
    folder = write(build_model(lone_image(tiny.VIT)), tmp_path / "mean")
    assert [kind for _, kind in modules_of(folder)] == ["Transformer", "Pooling", "Normalize"]
    assert (folder / "preprocessor_config.json").is_file()
    assert not list(folder.glob("tokenizer*"))


def test_a_static_tower_is_one_table_and_a_tokenizer_that_cuts(tokenizer: str, tmp_path: Path) -> None:
    model = build_model(lone_text(tiny.STATIC, tokenizer, max_length=9))
    folder = write(model, tmp_path / "x")
    assert modules_of(folder) == [("", "StaticEmbedding"), ("normalize", "Normalize")]
    stored = load_file(folder / "model.safetensors")
    assert stored.keys() == {"embedding.weight"}
    assert torch.equal(stored["embedding.weight"], model.towers.embedding.weight)
    assert json.loads((folder / "tokenizer.json").read_text())["truncation"]["max_length"] == 9
    assert form_of(model) == "static"


def test_a_pair_with_a_bias_keeps_it_beside_a_router(tokenizer: str, tmp_path: Path) -> None:
    model = build_model(pair(tiny.TIMM_RESNET, tiny.CLIP_TEXT, tokenizer))
    model.logit_bias = nn.Parameter(torch.tensor(-4.0))
    assert form_of(model) == "router"
    (tmp_path / "x").mkdir()
    assert write_form(model, tmp_path / "x", "router").logit_bias == -4.0


def test_towers_without_a_form_are_refused(tokenizer: str) -> None:
    model = build_model(joint("clip", tokenizer))
    model.towers = nn.Identity()  # type: ignore[assignment]
    with pytest.raises(UserError, match="no form on disk for Identity"):
        form_of(model)


@pytest.mark.parametrize("name", ["clip", "timm-clip", "vit-bert"])
def test_weights_are_stored_once(tokenizer: str, tmp_path: Path, name: str) -> None:
    config = {
        "clip": joint("clip", tokenizer),
        "timm-clip": pair(tiny.TIMM_RESNET, tiny.CLIP_TEXT, tokenizer),
        "vit-bert": pair(tiny.VIT, tiny.BERT, tokenizer),
    }[name]
    model = build_model(config)
    folder = write(model, tmp_path / "x")
    stored = sum(sum(t.numel() for t in load_file(path).values()) for path in folder.rglob("*.safetensors"))
    temperature = 0 if name == "vit-bert" else 1
    expected = sum(tensor.numel() for tensor in model.towers.state_dict().values()) + temperature
    assert stored == expected


def test_temperature_is_among_the_weights_where_they_have_a_place(tokenizer: str, tmp_path: Path) -> None:
    for name, config in (
        ("joint", joint("siglip", tokenizer)),
        ("pair", pair(tiny.TIMM_RESNET, tiny.CLIP_TEXT, tokenizer)),
    ):
        model = build_model(config)
        model.logit_scale.log_scale.data.fill_(0.75)
        weights = load_file(write(model, tmp_path / name) / "model.safetensors")
        assert weights["logit_scale"].item() == 0.75
        assert ("logit_bias" in weights) == (name == "joint")


def test_batch_norm_over_processes_is_saved_as_batch_norm(tokenizer: str, tmp_path: Path) -> None:
    model = build_model(pair(tiny.TIMM_RESNET, tiny.CLIP_TEXT, tokenizer))
    before = load_file(write(model, tmp_path / "one") / "model.safetensors")
    timm_model = model.towers.image_model.timm_model
    timm_model.bn1 = GlobalBatchNorm(timm_model.bn1)
    after = load_file(write(model, tmp_path / "two") / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_half_precision_weights_are_saved_in_float32(tokenizer: str, tmp_path: Path) -> None:
    model = build_model(pair(tiny.VIT, tiny.BERT, tokenizer)).to(torch.bfloat16)
    for path in write(model, tmp_path / "x").rglob("*.safetensors"):
        assert {tensor.dtype for tensor in load_file(path).values() if tensor.is_floating_point()} == {torch.float32}


def test_sentence_transformers_makes_no_random_pooler(tokenizer: str, tmp_path: Path) -> None:
    folder = write(build_model(pair(tiny.VIT, tiny.BERT, tokenizer)), tmp_path / "x")
    for tower in ("image", "text"):
        settings = json.loads((folder / tower / "sentence_bert_config.json").read_text())
        assert settings["model_kwargs"] == {"add_pooling_layer": False}
        assert not any("pooler" in name for name in load_file(folder / tower / "model.safetensors"))


def test_siglip_tells_sentence_transformers_to_pad(tokenizer: str, tmp_path: Path) -> None:
    folder = write(build_model(joint("siglip", tokenizer)), tmp_path / "x")
    settings = json.loads((folder / "sentence_bert_config.json").read_text())
    assert settings["processing_kwargs"] == {"text": {"padding": "max_length", "max_length": 12}}


def test_configurations_of_the_model_in_training_are_left_alone(tokenizer: str, tmp_path: Path) -> None:
    model = build_model(pair(tiny.TIMM_RESNET, tiny.CLIP_TEXT, tokenizer))
    before = model.towers.image_model.config.to_dict()
    folder = write(model, tmp_path / "x")
    assert model.towers.image_model.config.to_dict() == before
    assert json.loads((folder / "config.json").read_text())["vision_config"]["hidden_size"] == 24


def test_only_stock_classes_are_named(tokenizer: str, tmp_path: Path) -> None:
    folder = write(build_model(pair(tiny.VIT, tiny.BERT, tokenizer)), tmp_path / "x")
    named = [entry["type"] for entry in json.loads((folder / "modules.json").read_text())]
    named += json.loads((folder / "router_config.json").read_text())["types"].values()
    assert all(name.startswith("sentence_transformers.") for name in named)
    assert not list(folder.rglob("*.py"))
    assert not list(folder.rglob("*.bin"))
