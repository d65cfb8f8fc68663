from __future__ import annotations

import re
from pathlib import Path

import pytest
from transformers import BertConfig, BertModel, ViTConfig, ViTModel
from transformers import logging as transformers_logging

from mmcl.errors import UserError
from mmcl.towers.loading import (
    config_from_dict,
    default_preprocessing,
    load_backbone,
    load_config,
    num_positions,
    quiet_transformers,
)
from tests.towers import tiny_configs as tiny


def test_a_folder_without_model_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"is a folder without a model: it holds no config.json, open_clip_config.json or"
    ):
        load_config(str(tmp_path))


def test_a_run_without_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("data: x")
    with pytest.raises(UserError, match="is a run that has not written its model yet"):
        load_config(str(tmp_path))


def test_a_config_of_something_else_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no-such-type"}')
    with pytest.raises(UserError, match=r"config.json does not describe a transformers model: .*no-such-type"):
        load_config(str(tmp_path))


def test_a_hub_id_that_cannot_be_reached_names_the_ways_out() -> None:
    with pytest.raises(UserError) as caught:
        load_config("nobody/no-such-model")
    message = str(caught.value)
    assert message.startswith('cannot load "nobody/no-such-model": no folder here, not in the cache')
    assert "give a local folder" in message
    assert "\n" not in message


def test_a_folder_here_that_is_called_almost_so_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()
    with pytest.raises(UserError, match=r'cannot load "quikstart": .* Did you mean "quickstart"'):
        load_config("quikstart")


def test_a_path_that_is_not_there_is_not_taken_for_a_hub_id(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^no folder {tmp_path}/nothing$"):
        load_config(f"{tmp_path}/nothing")


def test_positions_are_those_of_the_table() -> None:
    assert num_positions(BertModel(BertConfig(**tiny.POSITIONS))) == 12
    config = BertConfig(**tiny.SIZES)
    model = ViTModel(ViTConfig(**tiny.PATCHES))
    model.config = config
    assert num_positions(model) == config.max_position_embeddings, "a model without a table: what its config says"


def test_the_special_tokens_of_a_fresh_model_are_the_tokenizers_by_whatever_names() -> None:
    ids = {"vocab_size": 300, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    modern = config_from_dict({"model_type": "modernbert"}, ids)
    assert (modern.bos_token_id, modern.eos_token_id, modern.cls_token_id, modern.sep_token_id) == (2, 3, 2, 3)
    assert not hasattr(config_from_dict({"model_type": "bert"}, ids), "cls_token_id")


def test_default_preprocessing_takes_the_size_of_the_config() -> None:
    assert default_preprocessing(ViTConfig(image_size=48)).size == 48
    assert default_preprocessing(BertConfig()).size == 224
    assert default_preprocessing(None).mean == (0.5, 0.5, 0.5)


def test_quiet_transformers_is_as_loud_as_before_afterwards() -> None:
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()

    def fail() -> None:
        with quiet_transformers():
            assert transformers_logging.get_verbosity() == transformers_logging.ERROR
            assert not transformers_logging.is_progress_bar_enabled()
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == (level, bars)


def test_truncated_weights_are_named(tmp_path: Path) -> None:
    ViTModel(ViTConfig(**{name: value for name, value in tiny.VIT.items() if name != "model_type"})).save_pretrained(
        tmp_path
    )
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"^{re.escape(str(path))} is damaged: "):
        load_backbone(str(tmp_path), load_config(str(tmp_path)))
