from __future__ import annotations

import json
import logging
from pathlib import Path

import open_clip
import pytest
import torch

from mmcl.errors import UserError
from mmcl.towers.open_clip import OpenClipTowers, build_open_clip, is_open_clip_name
from tests.towers.tiny_configs import OPEN_CLIP

TEXTS = ["a photo of a cat!?!", "!", "dog " * 30]


def test_embeddings_are_those_of_open_clip(open_clip_name: str) -> None:
    loaded = build_open_clip(open_clip_name, pretrained=False)
    towers = loaded.towers.eval()
    assert isinstance(towers, OpenClipTowers)
    theirs = open_clip.create_model(open_clip_name)
    theirs.load_state_dict(towers.state_dict_with(2.5, None))
    theirs.eval()
    ids = open_clip.get_tokenizer(open_clip_name)(TEXTS)
    for texts in ([TEXTS[0]], TEXTS[:2], TEXTS):
        batch = loaded.tokenizer(texts)
        rows = [TEXTS.index(text) for text in texts]
        torch.testing.assert_close(towers.encode_text(batch)[1], theirs.encode_text(ids[rows]), rtol=1e-4, atol=1e-5)
    assert loaded.tokenizer(TEXTS[:1]).input_ids.shape[1] < 16, "short texts make a narrow batch"
    pixels = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(towers.encode_image(pixels)[1], theirs.encode_image(pixels))
    assert theirs.logit_scale.item() == 2.5


def test_temperature_is_taken_out_of_the_model(open_clip_name: str) -> None:
    loaded = build_open_clip(open_clip_name, pretrained=False)
    assert loaded.log_scale == pytest.approx(2.6593, abs=1e-4)
    assert loaded.logit_bias is None
    assert not any("logit" in name for name, _ in loaded.towers.named_parameters())


def test_a_text_tower_that_is_built_for_its_context_gets_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "tiny-custom.json"
    path.write_text(json.dumps({**OPEN_CLIP, "custom_text": True}))
    open_clip.add_model_config(path)
    loaded = build_open_clip("tiny-custom", pretrained=False)
    batch = loaded.tokenizer(["a"])
    assert batch.input_ids.shape == (1, 16)
    assert not loaded.towers.skips_padding
    towers = loaded.towers.eval()
    torch.testing.assert_close(towers.encode_text(batch)[1], towers.model.encode_text(batch.input_ids))


def test_names(open_clip_name: str, tmp_path: Path) -> None:
    for name in ("ViT-B-32,openai", "ViT-B-32", open_clip_name, "hf-hub:x/y", "local-dir:x"):
        assert is_open_clip_name(name), name
    for name in ("openai/clip-vit-base-patch32", str(tmp_path)):
        assert not is_open_clip_name(name), name
    (tmp_path / "open_clip_config.json").write_text("{}")
    assert is_open_clip_name(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert not is_open_clip_name(str(tmp_path)), "a transformers model beside it comes first"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-23,openai", 'open_clip has no architecture "ViT-B-23". Did you mean "ViT-B-32"'),
        ("ViT-B-32,opnai", 'ViT-B-32 has no weights "opnai" in open_clip; allowed are openai, .*Did you mean "openai"'),
        ("ViT-B-32", 'ViT-B-32 has no weights "" in open_clip; allowed are openai, .* or pretrained: false'),
        ("local-dir:/nowhere", "cannot load the open_clip model local-dir:/nowhere: .*No such file"),
    ],
)
def test_names_that_cannot_be_had_are_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_open_clip(name, pretrained=True)


def test_weights_from_a_file(tmp_path: Path, open_clip_name: str) -> None:
    model = open_clip.create_model(open_clip_name)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    loaded = build_open_clip(f"{open_clip_name},{tmp_path / 'weights.pt'}", pretrained=True)
    state = loaded.towers.state_dict_with(0.0, None)
    assert torch.equal(state["visual.conv1.weight"], model.visual.conv1.weight)


def test_quick_gelu_follows_the_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, open_clip_name: str) -> None:
    torch.save(open_clip.create_model(open_clip_name).state_dict(), tmp_path / "weights.pt")
    tag = {"quick_gelu": True, "url": "", "hf_hub": ""}
    for module in (open_clip, open_clip.factory):
        monkeypatch.setattr(module, "get_pretrained_cfg", lambda model, name: tag)
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda cfg, cache_dir: str(tmp_path / "weights.pt"))
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda name: ["openai"])
    towers = build_open_clip(f"{open_clip_name},openai", pretrained=True).towers
    assert isinstance(towers, OpenClipTowers)
    assert towers.model_config["quick_gelu"] is True
    assert type(towers.model.visual.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"


def test_loading_leaves_logging_as_it_was(open_clip_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a handler, what open_clip logs would configure the root logger.
    monkeypatch.setattr(logging.root, "handlers", [])
    disabled = logging.root.manager.disable
    build_open_clip(open_clip_name, pretrained=False)
    assert logging.root.handlers == []
    assert logging.root.manager.disable == disabled


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": OPEN_CLIP}))
    with pytest.raises(
        UserError, match=r"cannot load the open_clip model .*: Required pretrained weights .* could not"
    ):
        build_open_clip(f"local-dir:{tmp_path}", pretrained=True)
    build_open_clip(f"local-dir:{tmp_path}", pretrained=False)
