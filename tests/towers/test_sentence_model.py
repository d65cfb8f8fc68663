"""Models that sentence-transformers saved are opened as it opens them."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize
from torch import nn

from mmcl.embedder import ModelEmbedder, load
from mmcl.errors import UserError
from mmcl.model import TwoTower, build_model
from mmcl.recipe_model import ModelConfig
from mmcl.text.prompts import Prompts
from mmcl.towers.sentence_model import SentenceModel, UnknownModulesError, dense_folders, find_sentence_model
from mmcl.towers.tokenizer_of import tokenizer_of
from tests.towers.sentence_models import WIDTH, save
from tests.towers.tiny_configs import VIT

TEXTS = ["alpha", "a greek letter alpha beta " * 3, "two black", "one two black white knight", "small"]
PROMPTS = {"query": "alpha beta ", "document": "digit "}


def tanh_to_half() -> Dense:
    return Dense(WIDTH, 8, activation_function=nn.Tanh())


def opened(folder: Path, **fields: Any) -> TwoTower:
    return build_model(ModelConfig.model_validate({"text": {"name": str(folder / "model"), **fields}}))


def encoded(model: SentenceTransformer, **options: Any) -> np.ndarray:
    rows = model.encode(TEXTS, show_progress_bar=False, **options)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "lasttoken"])
def test_its_pooling_is_taken_without_being_asked_for(tmp_path: Path, tokenizer: str, pooling: str) -> None:
    expected = encoded(save(tmp_path, tokenizer, pooling, [Normalize()]))
    np.testing.assert_allclose(load(tmp_path / "model").encode_texts(TEXTS), expected, atol=1e-6)
    np.testing.assert_allclose(ModelEmbedder(opened(tmp_path), "x").encode_texts(TEXTS), expected, atol=1e-6)


def test_its_dense_layers_are_taken_in_order(tmp_path: Path, tokenizer: str) -> None:
    layers = [tanh_to_half(), Dense(8, 6, bias=False, activation_function=nn.Identity()), Normalize()]
    expected = encoded(save(tmp_path, tokenizer, "cls", layers))
    model = opened(tmp_path)
    np.testing.assert_allclose(ModelEmbedder(model, "x").encode_texts(TEXTS), expected, atol=1e-6)
    assert (model.embedding_dim, model.towers.text_dim) == (6, WIDTH)
    assert dense_folders(tmp_path / "model") == (tmp_path / "model/2_Dense", tmp_path / "model/3_Dense")
    model.keep_text_head()
    assert len(model.towers.head) == 2, "a model that has a head keeps that one"
    assert build_model(ModelConfig(text={"name": str(tmp_path / "model"), "pretrained": False})).towers.head is None


def test_its_longest_text_is_taken(tmp_path: Path, tokenizer: str) -> None:
    save(tmp_path, tokenizer, max_length=7)
    assert opened(tmp_path).tokenizer.max_length == 7
    assert opened(tmp_path, max_length=5).tokenizer.max_length == 5
    for config in ({"name": str(tmp_path / "model")}, {"text": str(tmp_path / "model")}):
        assert tokenizer_of(ModelConfig.model_validate(config)).max_length == 7


def as_before_version_6(folder: Path, **settings: Any) -> None:
    """Bring a saved model to the form that versions 2 to 5 write."""
    settings = {"max_seq_length": 6, "do_lower_case": False, **settings}
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    pooling = {"word_embedding_dimension": WIDTH, "pooling_mode_cls_token": False, "pooling_mode_max_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    names = ["models.Transformer", "models.Pooling", "models.Dense", "models.Normalize"]
    modules = json.loads((folder / "modules.json").read_text())
    for module, name in zip(modules, names, strict=False):
        module["type"] = f"sentence_transformers.{name}"
    (folder / "modules.json").write_text(json.dumps(modules))
    for dense in folder.glob("*_Dense"):
        (dense / "model.safetensors").unlink()


def test_the_files_of_earlier_versions_are_read(tmp_path: Path, tokenizer: str) -> None:
    layer = tanh_to_half()
    save(tmp_path, tokenizer, "mean", [layer])
    as_before_version_6(tmp_path / "model")
    torch.save(layer.state_dict(), tmp_path / "model/2_Dense/pytorch_model.bin")
    expected = encoded(SentenceTransformer(str(tmp_path / "model"), device="cpu"))
    found = load(tmp_path / "model")
    assert found.model.tokenizer.max_length == 6
    np.testing.assert_allclose(found.encode_texts(TEXTS), expected, atol=1e-6)


def test_texts_are_lower_cased_where_the_model_says_so(tmp_path: Path, tokenizer: str) -> None:
    save(tmp_path, tokenizer)
    as_before_version_6(tmp_path / "model", do_lower_case=True)
    model = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert np.array_equal(model.encode(["ALPHA"]), model.encode(["alpha"]))
    lower, upper = load(tmp_path / "model").encode_texts(["alpha", "ALPHA"])
    assert np.array_equal(lower, upper)


def test_its_prompts_are_taken_by_name(tmp_path: Path, tokenizer: str) -> None:
    model = save(tmp_path, tokenizer, prompts=PROMPTS)
    found = load(tmp_path / "model")
    for options in ({}, {"prompt_name": "query"}, {"prompt_name": "document"}):
        rows = found.encode_texts(TEXTS, prompt=options.get("prompt_name"))
        np.testing.assert_allclose(rows, encoded(model, **options), atol=1e-6)
    assert not np.allclose(found.encode_texts(TEXTS), found.encode_texts(TEXTS, prompt="query"))


def test_its_default_prompt_goes_before_texts_unless_another_is_named(tmp_path: Path, tokenizer: str) -> None:
    model = save(tmp_path, tokenizer, prompts=PROMPTS, default_prompt_name="query")
    found = load(tmp_path / "model")
    np.testing.assert_allclose(found.encode_texts(TEXTS), encoded(model), atol=1e-6)
    rows = found.encode_texts(TEXTS, prompt="document")
    np.testing.assert_allclose(rows, encoded(model, prompt_name="document"), atol=1e-6)


def test_another_pooling_than_its_own_is_warned_of(
    tmp_path: Path, tokenizer: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, tokenizer, "mean")
    with caplog.at_level(logging.WARNING):
        opened(tmp_path, pooling="mean")
        opened(tmp_path, pooling="cls", pretrained=False)
        assert not caplog.records
        assert opened(tmp_path, pooling="cls").towers.pooling == "cls"
    assert "was trained with pooling mean, and text.pooling is cls" in caplog.text


@pytest.mark.parametrize("pooling", ["weightedmean", "mean_sqrt_len_tokens", ("cls", "mean")])
def test_a_pooling_that_is_not_known_is_refused_unless_another_is_asked_for(
    tmp_path: Path, tokenizer: str, pooling: Any
) -> None:
    save(tmp_path, tokenizer, pooling)
    name = pooling if isinstance(pooling, str) else " and ".join(pooling)
    with pytest.raises(UserError, match=f"was trained with pooling {name}, which is not known here; to train it"):
        opened(tmp_path)
    assert opened(tmp_path, pooling="last").towers.pooling == "last"


def test_modules_of_other_kinds_are_refused(tmp_path: Path, tokenizer: str) -> None:
    save(tmp_path, tokenizer, "mean", [Normalize(), tanh_to_half()])
    with pytest.raises(UserError, match=r"made of Transformer, Pooling, Normalize, Dense; only a Transformer, its"):
        load(tmp_path / "model")
    path = tmp_path / "model" / "modules.json"
    modules = json.loads(path.read_text())
    path.write_text(json.dumps([{**modules[0], "type": "custom_st.Transformer"}, *modules[1:2]]))
    with pytest.raises(UserError, match=r"made of custom_st\.Transformer, Pooling; only"):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    ("file", "fields", "reason"),
    [
        ("1_Pooling", {"include_prompt": False}, "leaves prompts out of its pooling"),
        ("2_Dense", {"activation_function": "torch.nn.modules.activation.SELU"}, "must be one of .* got SELU"),
        ("2_Dense", {"use_residual": True}, "use_residual, or of single tokens"),
        ("2_Dense", {"module_input_name": "token_embeddings"}, "use_residual, or of single tokens"),
    ],
)
def test_settings_that_are_not_known_are_refused(
    tmp_path: Path, tokenizer: str, file: str, fields: dict[str, Any], reason: str
) -> None:
    save(tmp_path, tokenizer, "mean", [tanh_to_half()])
    path = tmp_path / "model" / file / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    with pytest.raises(UserError, match=reason):
        load(tmp_path / "model")


def test_damaged_files_are_named(tmp_path: Path, tokenizer: str) -> None:
    save(tmp_path, tokenizer, "mean", [tanh_to_half(), tanh_to_half()])
    with pytest.raises(UserError, match=r"3_Dense takes vectors of 16 numbers, and is given 8"):
        load(tmp_path / "model")
    path = tmp_path / "model" / "modules.json"
    for content in ("[]", "{", '[{"path": ""}]'):
        path.write_text(content)
        with pytest.raises(UserError, match=r"modules\.json is damaged: "):
            load(tmp_path / "model")


def test_what_is_no_text_model_of_the_library_is_left_to_others(tmp_path: Path) -> None:
    assert find_sentence_model(str(tmp_path)) is None
    assert find_sentence_model("no/such/model") is None
    assert find_sentence_model("nobody/has-this-model") is None
    kind = {"type": "sentence_transformers.base.modules.transformer.Transformer", "path": ""}
    (tmp_path / "modules.json").write_text(json.dumps([kind]))
    settings = {"modality_config": {"text": {}, "image": {}}}
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps(settings))
    assert find_sentence_model(str(tmp_path)) is None, "a model of pictures too is opened by transformers"


@pytest.mark.parametrize(
    ("kinds", "paths"),
    [(["Transformer", "Dense"], ["", "1_Dense"]), (["CLIPModel"], ["0_CLIPModel"]), (["Router"], [""])],
)
def test_a_model_of_pictures_and_texts_of_other_modules_is_told_from_a_joint_one(
    tmp_path: Path, kinds: list[str], paths: list[str]
) -> None:
    named = [
        {"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in zip(kinds, paths, strict=True)
    ]
    (tmp_path / "modules.json").write_text(json.dumps(named))
    (tmp_path / "router_config.json").write_text(json.dumps({"structure": {"text": [], "image": []}}))
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"modality_config": {"text": {}, "image": {}}}))
    with pytest.raises(UnknownModulesError, match=f"made of {', '.join(kinds)}; only") as error:
        find_sentence_model(str(tmp_path))
    assert error.value.modalities == ("image", "text")


def test_a_backbone_in_a_folder_of_its_own_is_found(tmp_path: Path, tokenizer: str) -> None:
    save(tmp_path, tokenizer, prompts=PROMPTS)
    path = tmp_path / "model" / "modules.json"
    modules = json.loads(path.read_text())
    modules[0]["path"] = "0_Transformer"
    path.write_text(json.dumps(modules))
    inside = str(tmp_path / "model" / "0_Transformer")
    assert find_sentence_model(str(tmp_path / "model")) == SentenceModel(inside, "mean", prompts=Prompts(PROMPTS))


def test_a_pair_takes_the_pooling_and_says_that_it_leaves_out_dense_layers(
    tmp_path: Path, tokenizer: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, tokenizer, "max", [tanh_to_half()])
    image = {"config": VIT, "image_size": 32}
    model = build_model(ModelConfig.model_validate({"image": image, "text": str(tmp_path / "model")}))
    assert model.towers.text_pooling == "max"
    assert "its Dense layers are left out" in caplog.text


def test_an_id_of_the_hub_is_known_by_its_files_in_the_cache(tmp_path: Path, tokenizer: str) -> None:
    save(tmp_path, tokenizer, "max", [tanh_to_half()], prompts=PROMPTS)
    commit, repository = "0123456789" * 4, tmp_path / "hub" / "models--someone--sentences"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(tmp_path / "model", repository / "snapshots" / commit)
    # In a process of its own, because the libraries look for their cache when they are imported.
    code = """
import mmcl
found = mmcl.load("someone/sentences")
print(found.model.towers.pooling, found.model.embedding_dim, *sorted(found.prompts))
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert process.stdout.split() == ["max", "8", "document", "query"], process.stderr[-2000:]
