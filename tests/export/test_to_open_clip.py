from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from transformers import CLIPTokenizer

import mmcl
from mmcl.embedder import ModelEmbedder
from mmcl.errors import RunError, UserError
from mmcl.export import ModelCardFacts, export_to_open_clip
from mmcl.export.to_open_clip import as_open_clip_crops, is_clips_own
from mmcl.export.verify import TEXTS, sample_pictures
from mmcl.model import TwoTower, build_model
from mmcl.recipe_model import ModelConfig
from mmcl.text.tokenizer import HuggingFaceTokenizer, load_tokenizer
from mmcl.towers.preprocessing import ImagePreprocessing
from tests.export.siglip_of_timm import register_tiny_siglip
from tests.tiny import resnet_pair
from tests.towers import tiny_configs as tiny
from tests.towers.tiny_configs import joint, lone_image, lone_text, pair, scramble

CARD = ModelCardFacts("tiny")


@pytest.fixture(autouse=True)
def tiny_siglip() -> Iterator[None]:
    with register_tiny_siglip():
        yield


def configured(model_type: str, tokenizer: str, vision: dict[str, Any], text: dict[str, Any]) -> ModelConfig:
    fields = {
        "model_type": model_type,
        "vision_config": {**tiny.PATCHES, **vision},
        "text_config": {**tiny.POSITIONS, **text},
        **({} if model_type == "siglip" else {"projection_dim": 8}),
    }
    return ModelConfig.model_validate({"config": fields, "tokenizer": tokenizer})


def configs(tokenizer: str) -> dict[str, ModelConfig]:
    eps = {"layer_norm_eps": 0.1, "num_hidden_layers": 2}
    return {
        "clip": joint("clip", tokenizer),
        "clip of gelu": configured("clip", tokenizer, {"hidden_act": "gelu", **eps}, {"hidden_act": "gelu"}),
        "clip of wide eps": configured("clip", tokenizer, eps, eps),
        "metaclip 2": configured("metaclip_2", tokenizer, {}, {"eos_token_id": 3}),
        "siglip": configured("siglip", tokenizer, {"intermediate_size": 64}, {"num_hidden_layers": 2}),
        "pair of clip's": pair(tiny.CLIP_VISION, tiny.CLIP_TEXT, tokenizer, {"image_std": (0.2, 0.3, 0.4)}),
        "timm and clip's": resnet_pair(tokenizer),
        "short texts": pair(tiny.CLIP_VISION, tiny.CLIP_TEXT, tokenizer, None, {"max_length": 7}),
    }


NAMES = sorted(configs(""))


def opened(folder: Path, pictures: list[Image.Image]) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """As someone without mmcl opens it, line by line."""
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.no_grad():
        images = model.eval().encode_image(torch.stack([preprocess(picture) for picture in pictures]))
        return model, images, model.encode_text(tokenizer(TEXTS))


@pytest.mark.parametrize("name", NAMES)
def test_open_clip_gives_the_same_embeddings(name: str, tokenizer: str, tmp_path: Path) -> None:
    model = build_model(configs(tokenizer)[name])
    scramble(model)
    model.logit_scale.log_scale.data.fill_(1.25)
    if model.logit_bias is not None:
        model.logit_bias.data.fill_(-3.5)
    before = model.preprocessing
    report = export_to_open_clip(model, tmp_path / "x", CARD)
    assert [check.name for check in report.checks] == ["mmcl", "open_clip"]
    assert all(check.holds for check in report.checks)
    assert model.preprocessing is before
    # Even margins, where both halve alike, and sides of the model's own size, which nobody resizes.
    size = before.size  # type: ignore[union-attr]
    pictures = [picture.resize((size + 10, size)) for picture in sample_pictures()]
    embedder = ModelEmbedder(model, "x")
    theirs, images, texts = opened(tmp_path / "x", pictures)
    for rows, expected in ((images, embedder.encode_images(pictures)), (texts, embedder.encode_texts(TEXTS))):
        cosines = torch.cosine_similarity(rows, torch.from_numpy(expected))
        assert cosines.min() >= 0.99999
        others = torch.cosine_similarity(rows, torch.from_numpy(expected).roll(1, dims=0))
        assert others.min() < 0.999, "rows must differ to prove anything"
    assert theirs.logit_scale.item() == pytest.approx(1.25)
    assert (theirs.logit_bias is None) == (model.logit_bias is None)
    if theirs.logit_bias is not None:
        assert theirs.logit_bias.item() == pytest.approx(-3.5)


@pytest.fixture(scope="module")
def clips_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The files of OpenAI's CLIP tokenizer, as transformers has them, from the vocabulary in open_clip."""
    own = SimpleTokenizer()
    vocabulary = [*list(own.encoder)[:-2], "<|startoftext|>", "<|endoftext|>"]
    folder = tmp_path_factory.mktemp("clips") / "tokenizer"
    CLIPTokenizer({token: number for number, token in enumerate(vocabulary)}, list(own.bpe_ranks)).save_pretrained(
        folder
    )
    return str(folder)


def test_clips_own_tokenizer_is_left_to_open_clip(clips_tokenizer: str, tmp_path: Path) -> None:
    model = build_model(joint("clip", clips_tokenizer))
    scramble(model)
    assert all(check.holds for check in export_to_open_clip(model, tmp_path / "x", CARD).checks)
    assert not (tmp_path / "x" / "tokenizer.json").exists()
    assert isinstance(open_clip.get_tokenizer(f"local-dir:{tmp_path / 'x'}"), SimpleTokenizer)
    again = mmcl.load(tmp_path / "x", "cpu")
    expected, found = (one.encode_texts(TEXTS) for one in (ModelEmbedder(model, "x"), again))
    assert torch.cosine_similarity(torch.from_numpy(found), torch.from_numpy(expected)).min() > 0.99999


def test_a_tokenizer_that_only_resembles_clips_is_written(clips_tokenizer: str) -> None:
    tokenizer = HuggingFaceTokenizer(load_tokenizer(clips_tokenizer), 77)
    assert is_clips_own(tokenizer)
    tokenizer.backend.backend_tokenizer.normalizer = None
    assert not is_clips_own(tokenizer), "capitals are told apart"
    words = json.loads(Path(clips_tokenizer, "tokenizer.json").read_text())
    vocabulary, merges = words["model"]["vocab"], [tuple(pair) for pair in words["model"]["merges"]]
    vocabulary["cat</w>"], vocabulary["dog</w>"] = vocabulary["dog</w>"], vocabulary["cat</w>"]
    assert not is_clips_own(HuggingFaceTokenizer(CLIPTokenizer(vocabulary, merges), 77))


def test_it_loads_and_converts_again(tokenizer: str, tmp_path: Path) -> None:
    model = build_model(joint("clip", tokenizer))
    scramble(model)
    export_to_open_clip(model, tmp_path / "one", CARD)
    again = mmcl.load(tmp_path / "one", "cpu").model
    export_to_open_clip(again, tmp_path / "two", CARD)
    _, *first = opened(tmp_path / "one", sample_pictures())
    _, *second = opened(tmp_path / "two", sample_pictures())
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def refused(tokenizer: str) -> dict[str, tuple[TwoTower, str]]:
    clip = joint("clip", tokenizer)
    mixed = configured("clip", tokenizer, {"hidden_act": "gelu"}, {})
    crops = build_model(clip)
    crops.preprocessing = crops.preprocessing.scaled_to(40)  # type: ignore[union-attr]
    return {
        "chinese clip": (build_model(joint("chinese_clip", tokenizer)), "image tower is a chinese_clip_vision_model"),
        "bert": (
            build_model(pair(tiny.CLIP_VISION, tiny.BERT, tokenizer, None, {"pooling": "pooler"})),
            "its text tower is a bert",
        ),
        "mean": (build_model(pair(tiny.VIT, tiny.BERT, tokenizer)), "its towers are pooled by mean and mean"),
        "settings": (
            build_model(pair(tiny.TIMM_RESNET, tiny.CLIP_TEXT, tokenizer)),
            r"timm's resnet18 with settings of its own \(channels\)",
        ),
        "image": (build_model(lone_image(tiny.VIT)), "it embeds images alone"),
        "text": (build_model(lone_text(tiny.BERT, tokenizer)), "it embeds texts alone"),
        "activations": (build_model(mixed), "one tower has quick_gelu and the other has not"),
        "crops": (crops, "this model scales to 40 pixels and crops 32"),
    }


def test_what_open_clip_has_no_form_for_is_refused_and_nothing_is_left(tokenizer: str, tmp_path: Path) -> None:
    for name, (model, message) in refused(tokenizer).items():
        with pytest.raises(UserError, match=message) as caught:
            export_to_open_clip(model, tmp_path / "x", CARD)
        assert "\n" not in str(caught.value)
        if name not in ("crops", "text"):
            assert "open_clip's form can be had of transformers' CLIP, MetaCLIP 2 and SigLIP" in str(caught.value)
        assert list(tmp_path.iterdir()) == [], name


def test_interpolations_that_open_clip_lacks_are_refused() -> None:
    with pytest.raises(UserError, match="bilinear or bicubic, and this model lanczos"):
        as_open_clip_crops(ImagePreprocessing(32, interpolation="lanczos"))


def test_only_the_half_pixel_of_the_crop_changes() -> None:
    before = ImagePreprocessing(32, "shortest", "bilinear", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    after = as_open_clip_crops(before)
    assert {**before.to_dict(), "crop_rounding": "even"} == after.to_dict()
    picture = Image.new("RGB", (32, 35))
    picture.paste((255, 255, 255), (0, 0, 32, 2))  # of three rows of margin, one or two are cut off above
    assert (before.resize(picture)[0, 0].float().mean(), after.resize(picture)[0, 0].float().mean()) == (255.0, 0.0)


@pytest.mark.parametrize("damage", ["weights", "activation", "tokenizer", "pixels"])
def test_a_form_that_does_not_hold_is_not_kept(
    damage: str, tokenizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmcl.export import forms

    model, real = build_model(joint("clip", tokenizer)), forms.write_as_open_clip
    scramble(model)

    def damaging(model: TwoTower, folder: Path) -> object:
        if damage == "weights":
            model = build_model(joint("clip", tokenizer), seed=3)
        description = real(model, folder)
        path = folder / "open_clip_config.json"
        config = json.loads(path.read_text())
        if damage == "activation":
            config["model_cfg"]["quick_gelu"] = False
        elif damage == "pixels":
            config["preprocess_cfg"]["mean"] = [0.3, 0.4, 0.5]
        path.write_text(json.dumps(config))
        if damage == "tokenizer":
            words = folder / "tokenizer.json"
            words.write_text(words.read_text().replace('"a": 4', '"a": 5').replace('"greek": 5', '"greek": 4'))
        return description

    monkeypatch.setattr(forms, "write_as_open_clip", damaging)
    with pytest.raises(RunError, match=r"nothing was written: opened by .*smallest cosine"):
        export_to_open_clip(model, tmp_path / "x", CARD)
    assert list(tmp_path.iterdir()) == []
