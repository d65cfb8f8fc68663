from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mmcl.errors import UserError
from mmcl.export import ModelCardFacts, export_model
from mmcl.model import TwoTower, build_model
from mmcl.recipe_model import ModelConfig
from mmcl.text.prompts import Prompts
from mmcl.towers.description import Description, is_saved
from mmcl.towers.tokenizer_of import tokenizer_of
from tests.tiny import random_batch
from tests.towers import tiny_configs as tiny
from tests.towers.tiny_configs import joint, lone_image, lone_text, pair


def exported(config: ModelConfig, folder: Path, keeps_head: bool = False) -> TwoTower:
    model = build_model(config, seed=5)
    if keeps_head:
        model.keep_text_head()
    with torch.no_grad():
        model.logit_scale.log_scale.fill_(1.25)
        if model.logit_bias is not None:
            model.logit_bias.fill_(-2.5)
    export_model(model, folder, ModelCardFacts("x"))
    return model.eval()


@pytest.mark.parametrize("name", ["vit-bert", "resnet-bert", "dinov2-bert", "timm-clip", "clip", "siglip", "open_clip"])
def test_loading_gives_exactly_what_was_saved(tmp_path: Path, tokenizer: str, open_clip_name: str, name: str) -> None:
    config = {
        "vit-bert": pair(tiny.VIT, tiny.BERT, tokenizer, {"image_mean": (0.1, 0.2, 0.3)}, {"max_length": 10}),
        "resnet-bert": pair(tiny.RESNET, tiny.BERT, tokenizer),
        "dinov2-bert": pair(tiny.DINOV2, tiny.BERT, tokenizer),
        "timm-clip": pair(tiny.TIMM_RESNET, tiny.CLIP_TEXT, tokenizer),
        "clip": joint("clip", tokenizer),
        "siglip": joint("siglip", tokenizer),
        "open_clip": ModelConfig(name=open_clip_name, pretrained=False),
    }[name]
    before = exported(config, tmp_path / "model")
    after = build_model(ModelConfig(name=str(tmp_path))).eval()
    batch = random_batch(3, 32)
    assert torch.equal(after.encode_image(batch.images[0]).embeddings, before.encode_image(batch.images[0]).embeddings)
    texts = ["alpha", "a greek letter " * 10]
    tokens, tokens_before = after.tokenizer(texts), before.tokenizer(texts)
    assert torch.equal(tokens.input_ids, tokens_before.input_ids)
    assert torch.equal(tokens.attention_mask, tokens_before.attention_mask)
    assert torch.equal(after.encode_text(tokens).embeddings, before.encode_text(tokens).embeddings)
    assert after.logit_scale.log_scale.item() == 1.25
    assert (after.logit_bias is None) == (before.logit_bias is None) == (name != "siglip")
    assert after.logit_bias is None or after.logit_bias.item() == -2.5
    assert after.preprocessing == before.preprocessing
    if name.endswith("bert"):
        assert after.state_dict().keys() == before.state_dict().keys(), "no pooler comes back"
    trained = sum(p.numel() for p in after.parameters() if p.requires_grad)
    assert trained == sum(p.numel() for p in before.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", ["vit", "vit-pooler", "resnet", "dinov2", "timm", "clip-vision"])
def test_a_lone_image_tower_comes_back_exactly(tmp_path: Path, name: str) -> None:
    config = {
        "vit": lone_image(tiny.VIT, image_mean=(0.1, 0.2, 0.3)),
        "vit-pooler": lone_image(tiny.VIT, pooling="pooler"),
        "resnet": lone_image(tiny.RESNET),
        "dinov2": lone_image(tiny.DINOV2, pooling="cls"),
        "timm": lone_image(tiny.TIMM_RESNET),
        "clip-vision": lone_image(tiny.CLIP_VISION),
    }[name]
    before = exported(config, tmp_path / "model")
    after = build_model(ModelConfig(name=str(tmp_path))).eval()
    pixels = random_batch(3, 32).images[0]
    assert torch.equal(after.encode_image(pixels).embeddings, before.encode_image(pixels).embeddings)
    assert after.preprocessing == before.preprocessing
    assert after.tokenizer is None
    assert_same_weights(before, after)


@pytest.mark.parametrize("name", ["bert", "bert-pooler", "roberta", "gpt2", "clip-text", "bert-head", "static"])
def test_a_lone_text_tower_comes_back_exactly(tmp_path: Path, tokenizer: str, name: str) -> None:
    config = {
        "bert": lone_text(tiny.BERT, tokenizer, max_length=10),
        "bert-pooler": lone_text(tiny.BERT, tokenizer, pooling="pooler"),
        "roberta": lone_text(tiny.ROBERTA, tokenizer, pooling="cls"),
        "gpt2": lone_text(tiny.GPT2, tokenizer, pooling="last"),
        "clip-text": lone_text(tiny.CLIP_TEXT, tokenizer),
        "bert-head": lone_text(tiny.BERT, tokenizer, pooling="cls"),
        "static": lone_text(tiny.STATIC, tokenizer, max_length=5),
    }[name]
    before = exported(config, tmp_path / "model", keeps_head=name == "bert-head")
    after = build_model(ModelConfig(name=str(tmp_path))).eval()
    texts = ["alpha", "a greek letter " * 10]
    tokens, tokens_before = after.tokenizer(texts), before.tokenizer(texts)
    assert torch.equal(tokens.input_ids, tokens_before.input_ids)
    assert torch.equal(after.encode_text(tokens).embeddings, before.encode_text(tokens).embeddings)
    assert after.preprocessing is None
    assert_same_weights(before, after)


def assert_same_weights(before: TwoTower, after: TwoTower) -> None:
    assert after.state_dict().keys() == before.state_dict().keys()
    assert after.logit_scale.log_scale.item() == 1.25
    trained = {name for name, p in before.named_parameters() if p.requires_grad}
    assert {name for name, p in after.named_parameters() if p.requires_grad} == trained


@pytest.mark.parametrize("name", ["single", "static", "router", "clip", "open_clip"])
def test_prompts_are_stored_with_the_model(tmp_path: Path, tokenizer: str, open_clip_name: str, name: str) -> None:
    config = {
        "single": lone_text(tiny.BERT, tokenizer),
        "static": lone_text(tiny.STATIC, tokenizer),
        "router": pair(tiny.VIT, tiny.BERT, tokenizer),
        "clip": joint("clip", tokenizer),
        "open_clip": ModelConfig(name=open_clip_name, pretrained=False),
    }[name]
    prompts = Prompts({"query": "query: ", "document": "passage: "}, default="query")
    model = build_model(config)
    model.tokenizer.prompts = prompts
    report = export_model(model, tmp_path / "model", ModelCardFacts("x"))
    assert all(check.holds for check in report.checks)
    assert build_model(ModelConfig(name=str(tmp_path))).prompts == prompts
    if name != "open_clip":
        tower = ModelConfig.model_validate({"text": str(tmp_path)})
        assert build_model(tower).prompts == tokenizer_of(tower).prompts == prompts
        stored = json.loads((tmp_path / "model" / "config_sentence_transformers.json").read_text())
        assert (stored["prompts"], stored["default_prompt_name"]) == (prompts.texts, "query")


def test_architecture_alone_is_taken_where_there_is_one(tmp_path: Path, tokenizer: str) -> None:
    before = exported(joint("clip", tokenizer), tmp_path / "clip")
    after = build_model(ModelConfig(name=str(tmp_path / "clip"), pretrained=False))
    assert after.state_dict().keys() == before.state_dict().keys()
    assert after.logit_scale().item() == pytest.approx(1 / 0.07)
    exported(pair(tiny.VIT, tiny.BERT, tokenizer), tmp_path / "pair")
    with pytest.raises(UserError, match=r"pretrained: false needs one architecture, and .* is a pair"):
        build_model(ModelConfig(name=str(tmp_path / "pair"), pretrained=False))


def test_a_loaded_model_is_in_training_mode(tmp_path: Path, tokenizer: str) -> None:
    exported(joint("clip", tokenizer), tmp_path / "clip")
    assert all(module.training for module in build_model(ModelConfig(name=str(tmp_path / "clip"))).modules())


def test_a_loaded_model_can_be_saved_again(tmp_path: Path, tokenizer: str) -> None:
    exported(pair(tiny.TIMM_RESNET, tiny.CLIP_TEXT, tokenizer), tmp_path / "one")
    report = export_model(build_model(ModelConfig(name=str(tmp_path / "one"))), tmp_path / "two", ModelCardFacts("x"))
    assert all(check.holds for check in report.checks)


def test_a_folder_is_told_by_its_description(tmp_path: Path) -> None:
    assert not is_saved(str(tmp_path))
    (tmp_path / "mmcl.json").write_text("{}")
    assert is_saved(str(tmp_path))


def test_damaged_and_future_descriptions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mmcl.json"
    for content in ("{", "{}", '{"format": 1}', "[]"):
        path.write_text(content)
        with pytest.raises(UserError, match=r"mmcl.json is damaged"):
            Description.read(tmp_path)
    path.write_text(json.dumps({"format": 2}))
    with pytest.raises(UserError, match="has format 2, this version of mmcl reads 1"):
        Description.read(tmp_path)


def test_missing_weights_are_refused(tmp_path: Path, tokenizer: str) -> None:
    exported(pair(tiny.VIT, tiny.BERT, tokenizer), tmp_path / "model")
    (tmp_path / "model" / "image" / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot load the weights of"):
        build_model(ModelConfig(name=str(tmp_path)))


def _truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("form", ["clip", "open_clip", "pair"])
def test_truncated_weights_are_named(tmp_path: Path, tokenizer: str, open_clip_name: str, form: str) -> None:
    config, file = {
        "clip": (joint("clip", tokenizer), "model.safetensors"),
        "open_clip": (ModelConfig(name=open_clip_name, pretrained=False), "open_clip_model.safetensors"),
        "pair": (pair(tiny.VIT, tiny.BERT, tokenizer), "text/model.safetensors"),
    }[form]
    exported(config, tmp_path)
    _truncate(tmp_path / file)
    with pytest.raises(UserError, match=rf"^{re.escape(str(tmp_path / file))} is damaged: "):
        build_model(ModelConfig(name=str(tmp_path)))


def test_a_damaged_pair_names_the_file(tmp_path: Path, tokenizer: str) -> None:
    exported(pair(tiny.VIT, tiny.BERT, tokenizer), tmp_path)
    path = tmp_path / "text_projection" / "model.safetensors"

    def reason() -> str:
        with pytest.raises(UserError) as caught:
            build_model(ModelConfig(name=str(tmp_path)))
        return str(caught.value)

    _truncate(path)
    assert reason().startswith(f"{path} is damaged: ")
    save_file({"weight": torch.zeros(2, 2)}, path)
    assert reason() == f"{path} is damaged: it holds no linear.weight"
    save_file({"linear.weight": torch.zeros(2, 3)}, path)
    assert reason().startswith(f"{path} has a projection of shape (2, 3); mmcl.json says (")
    path.unlink()
    assert reason() == f"no file {path}"


def test_a_description_that_lacks_a_part_of_its_pair_is_refused(tmp_path: Path, tokenizer: str) -> None:
    exported(pair(tiny.VIT, tiny.BERT, tokenizer), tmp_path)
    path = tmp_path / "mmcl.json"
    fields = json.loads(path.read_text())
    whole = fields["pair"]
    lacking = {key: value for key, value in whole.items() if key != "max_length"}
    for damaged, reason in (
        (None, "pair must be a mapping, got None"),
        (lacking, "pair lacks max_length"),
        ({**whole, "image": {"dim": 3}}, "pair.image lacks pooling"),
        ({**whole, "text": 3}, "pair.text must be a mapping, got 3"),
    ):
        path.write_text(json.dumps({**fields, "pair": damaged}))
        with pytest.raises(UserError, match=rf"^{re.escape(str(path))} is damaged: {re.escape(reason)}$"):
            build_model(ModelConfig(name=str(tmp_path)))


def test_a_description_of_one_tower_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    exported(lone_image(tiny.VIT), tmp_path)
    path = tmp_path / "mmcl.json"
    fields = json.loads(path.read_text())
    whole = fields["single"]
    lacking = {key: value for key, value in whole.items() if key != "pooling"}
    for damaged, reason in (
        ({"single": None}, "single must be a mapping, got None"),
        ({"single": lacking}, "single lacks pooling"),
        ({"single": {**whole, "modality": "sound"}}, "single.modality must be image or text, got 'sound'"),
        ({"preprocessing": None}, "preprocessing lacks, which pictures need"),
    ):
        path.write_text(json.dumps({**fields, **damaged}))
        with pytest.raises(UserError, match=rf"^{re.escape(str(path))} is damaged: {re.escape(reason)}$"):
            build_model(ModelConfig(name=str(tmp_path)))


def test_a_damaged_head_names_the_file(tmp_path: Path, tokenizer: str) -> None:
    exported(lone_text(tiny.BERT, tokenizer), tmp_path, keeps_head=True)
    path = tmp_path / "head" / "model.safetensors"
    save_file({"linear.weight": torch.zeros(16, 16)}, path)
    with pytest.raises(UserError, match=rf"^{re.escape(str(path))} is damaged: it holds no linear.bias$"):
        build_model(ModelConfig(name=str(tmp_path)))
    path.unlink()
    with pytest.raises(UserError, match=rf"^no file {re.escape(str(path))}$"):
        build_model(ModelConfig(name=str(tmp_path)))


def test_a_damaged_table_names_the_file(tmp_path: Path, tokenizer: str) -> None:
    exported(lone_text(tiny.STATIC, tokenizer), tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({"embedding.weight": torch.zeros(16)}, path)
    with pytest.raises(UserError, match=r"embedding.weight must be \(tokens, width\), got \(16,\)"):
        build_model(ModelConfig(name=str(tmp_path)))
    save_file({"embedding.weight": torch.zeros(5, 4)}, path)
    with pytest.raises(UserError, match="has 18 ids, but the model embeds only 5"):
        build_model(ModelConfig(name=str(tmp_path)))
