from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from mmcl.errors import UserError
from mmcl.model import build_model
from mmcl.recipe_model import ModelConfig
from mmcl.towers import quick_gelu
from mmcl.towers.open_clip import OpenClipTowers, build_open_clip
from tests.towers import joint_families
from tests.towers.open_clip_families import FAMILIES, quiet, save
from tests.towers.tiny_configs import OPEN_CLIP


@pytest.fixture
def architectures(tmp_path: Path) -> tuple[str, str]:
    """Names of an architecture with GELU, and of the same with QuickGELU."""
    for name, extra in (("tiny-act", {}), ("tiny-act-quickgelu", {"quick_gelu": True})):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({**OPEN_CLIP, **extra}))
        open_clip.add_model_config(path)
    return "tiny-act", "tiny-act-quickgelu"


def save_weights(folder: Path, architecture: str) -> Path:
    folder.mkdir()
    with quiet():
        torch.save(open_clip.create_model(architecture).state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


def activation(name: str) -> str:
    towers = build_open_clip(name, pretrained=True).towers
    assert isinstance(towers, OpenClipTowers)
    return type(towers.model.visual.transformer.resblocks[0].mlp.gelu).__name__


def declare(folder: Path, is_quick: bool) -> None:
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"quick_gelu": is_quick}}))


@pytest.mark.parametrize("is_quick", [False, True])
def test_a_file_of_unknown_origin_says_what_is_assumed_and_how_to_set_it(
    tmp_path: Path, architectures: tuple[str, str], caplog: pytest.LogCaptureFixture, is_quick: bool
) -> None:
    chosen, other = architectures[is_quick], architectures[not is_quick]
    path = save_weights(tmp_path / "run", chosen)
    with caplog.at_level(logging.WARNING):
        assert activation(f"{chosen},{path}") == ("QuickGELU" if is_quick else "GELU")
    assumed, left = ("QuickGELU", "GELU") if is_quick else ("GELU", "QuickGELU")
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} does not say with which activation it was trained; {assumed} is assumed, as {chosen} has it; for"
        f" {left} write {other},{path}"
    ]


@pytest.mark.parametrize("is_quick", [False, True])
def test_a_file_that_was_trained_otherwise_is_refused(
    tmp_path: Path, architectures: tuple[str, str], caplog: pytest.LogCaptureFixture, is_quick: bool
) -> None:
    right, wrong = architectures[is_quick], architectures[not is_quick]
    path = save_weights(tmp_path / "run", right)
    declare(path.parent, is_quick)
    trained, has = ("QuickGELU", "GELU") if is_quick else ("GELU", "QuickGELU")
    with pytest.raises(UserError, match=rf"was trained with {trained}, .* {wrong} has {has}: write {right},{path}$"):
        build_open_clip(f"{wrong},{path}", pretrained=True)
    assert activation(f"{right},{path}") == trained
    assert not caplog.records, "nothing is assumed where it is known"


def test_towers_that_are_not_open_clips_own_have_no_such_question(caplog: pytest.LogCaptureFixture) -> None:
    config = {"vision_cfg": {"timm_model_name": "x"}, "text_cfg": {"hf_model_name": "y"}}
    quick_gelu.check_weights_file("x", "weights.pt", config)
    assert not caplog.records


def test_the_way_out_without_a_sibling_architecture_is_a_folder(
    tmp_path: Path, open_clip_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = save_weights(tmp_path / "run", open_clip_name)
    build_open_clip(f"{open_clip_name},{path}", pretrained=True)
    assert 'a folder with the weights and an open_clip_config.json whose model_cfg says "quick_gelu"' in caplog.text


@pytest.mark.parametrize("name", ["clip", "clip with quick gelu"])
def test_a_folder_has_the_activation_that_it_says(tmp_path: Path, name: str) -> None:
    save(FAMILIES[name], tmp_path)
    assert activation(f"local-dir:{tmp_path}") == ("GELU" if name == "clip" else "QuickGELU")


def test_a_hub_repository_that_forgot_it_is_refused() -> None:
    name = "timm/vit_base_patch32_clip_224.openai"
    with pytest.raises(UserError, match=f"^{name} was trained with QuickGELU, as open_clip's list of weights says"):
        quick_gelu.check_hub_weights(name, {"quick_gelu": False})
    quick_gelu.check_hub_weights(name, {"quick_gelu": True})
    quick_gelu.check_hub_weights("someone/else", {})


def test_every_listed_weight_with_quick_gelu_is_taken_as_it_was_trained() -> None:
    assert quick_gelu.quick_gelu_of_tag("ViT-B-32", "openai")
    assert not quick_gelu.quick_gelu_of_tag("ViT-B-32", "laion2b_s34b_b79k")


def save_clip(folder: Path, **acts: str) -> None:
    family = joint_families.FAMILIES["clip"]
    config: dict[str, Any] = {**family.config}
    for part, act in acts.items():
        config[f"{part}_config"] = {**config[f"{part}_config"], "hidden_act": act}
    joint_families.save(joint_families.JointFamily(config, family.make_tokenizer), folder)


@pytest.mark.parametrize(("act", "declared"), [("gelu", True), ("quick_gelu", False)])
@pytest.mark.parametrize("whole", [True, False])
def test_a_transformers_clip_that_open_clip_calls_otherwise_is_refused(
    tmp_path: Path, act: str, declared: bool, whole: bool
) -> None:
    save_clip(tmp_path, text=act, vision=act)
    declare(tmp_path, declared)
    config = {"name": str(tmp_path)} if whole else {"image": str(tmp_path)}
    with pytest.raises(UserError) as caught:
        build_model(ModelConfig.model_validate(config))
    assert str(caught.value) == (
        f"{tmp_path} was trained with {'QuickGELU' if declared else 'GELU'}, as open_clip says of it, and its"
        f' config.json has hidden_act "{act}" in text_config and vision_config: correct it in a copy, or load it by'
        f" open_clip, as local-dir:{tmp_path}"
    )
    declare(tmp_path, not declared)
    build_model(ModelConfig.model_validate(config))


def test_two_activations_in_one_model_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_clip(tmp_path, text="gelu", vision="quick_gelu")
    build_model(ModelConfig(name=str(tmp_path)))
    assert 'hidden_act "gelu" in text_config and "quick_gelu" in vision_config, which is taken as it is' in caplog.text
