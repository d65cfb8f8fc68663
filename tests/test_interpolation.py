from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mmcl
from mmcl.errors import UserError
from mmcl.export import ModelCardFacts, export_model
from mmcl.export.verify import sample_pictures
from mmcl.interpolation import check_mergeable, has_batch_norm, interpolate
from mmcl.model import TwoTower, build_model
from mmcl.recipe_model import ModelConfig
from tests.tiny import WORDS, resnet_pair, save_tokenizer
from tests.towers import tiny_configs as tiny
from tests.towers.tiny_configs import joint, lone_image, lone_text, pair, scramble


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_it_is_the_weighted_mean_of_weights() -> None:
    a, b = {"x": torch.tensor([1.0, -2.0])}, {"x": torch.tensor([5.0, 2.0])}
    assert interpolate(a, b, 0.25)["x"].tolist() == [2.0, -1.0]
    assert a["x"].tolist() == [1.0, -2.0]


def test_both_ends_and_what_is_equal_are_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = ({"x": torch.randn(1000, generator=generator)} for _ in range(2))
    assert torch.equal(interpolate(a, b, 0.0)["x"], a["x"])
    assert torch.equal(interpolate(a, b, 1.0)["x"], b["x"])
    assert torch.equal(interpolate(a, a, 0.3)["x"], a["x"])


def test_half_precision_is_rounded_once_and_float64_stays() -> None:
    a, b = {"x": torch.tensor(1.0, dtype=torch.bfloat16)}, {"x": torch.tensor(300.0, dtype=torch.bfloat16)}
    assert interpolate(a, b, 0.1)["x"] == torch.tensor(1.0 + 0.1 * 299.0).to(torch.bfloat16)
    wide = {"x": torch.tensor(1 / 3, dtype=torch.float64)}
    assert interpolate(wide, {"x": wide["x"] * 2}, 0.5)["x"].item() == pytest.approx(0.5, abs=1e-15)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_alpha_is_from_0_to_1(alpha: float) -> None:
    with pytest.raises(UserError, match=r"alpha must be from 0 to 1, got"):
        interpolate({}, {}, alpha)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({}, "only a has a x"),
        ({"x": torch.zeros(2), "y": torch.zeros(1)}, "only b has a y"),
        ({"x": torch.zeros(3)}, r"x has shape \(2,\) in a and \(3,\) in b"),
    ],
)
def test_other_states_are_refused(other: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(UserError, match=message):
        interpolate({"x": torch.zeros(2)}, other, 0.5)


def test_whole_numbers_must_be_equal_but_for_counters_of_batch_norm() -> None:
    one, two = {"ids": torch.tensor([0, 1])}, {"ids": torch.tensor([0, 2])}
    assert torch.equal(interpolate(one, one, 0.5)["ids"], one["ids"])
    with pytest.raises(UserError, match="ids holds other whole numbers in a than in b"):
        interpolate(one, two, 0.5)
    seen = ({"bn.num_batches_tracked": torch.tensor(count)} for count in (3, 7))
    assert interpolate(*seen, 0.5)["bn.num_batches_tracked"] == 7


def test_one_state_serves_a_whole_sweep(tokenizer: str) -> None:
    """What a sweep does: both models loaded once, the weights swapped; each point is the function of its weights."""
    model, other = (build_model(joint("clip", tokenizer), seed=seed) for seed in (0, 1))
    scramble(other)
    a, b = ({name: tensor.clone() for name, tensor in one.state_dict().items()} for one in (model, other))
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    rows = []
    for alpha in (0.0, 0.5, 1.0, 0.0):
        model.load_state_dict(interpolate(a, b, alpha))
        rows.append(model.eval().encode_image(pixels).embeddings)
    assert torch.equal(rows[0], rows[3])
    torch.testing.assert_close(rows[2], other.eval().encode_image(pixels).embeddings)
    assert (rows[1] - rows[0]).abs().max() > 1e-3 < (rows[1] - rows[2]).abs().max()


def save(config: ModelConfig, folder: Path, seed: int = 0) -> tuple[str, TwoTower]:
    model = build_model(config, seed)
    scramble(model, seed)
    model.logit_scale.log_scale.data.fill_(1.0 + seed)
    if model.logit_bias is not None:
        model.logit_bias.data.fill_(-4.0 * (1 + seed))
    export_model(model, folder, ModelCardFacts("x"))
    return str(folder), model


@pytest.fixture
def checks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmcl.export.export.verify_export", lambda folder, model, form: ())


@pytest.mark.usefixtures("checks_nothing")
@pytest.mark.parametrize("kind", ["siglip", "router", "open_clip", "image", "text"])
def test_models_of_every_kind_are_merged_with_temperature_and_bias(
    kind: str, tokenizer: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    config = {
        "siglip": lambda: joint("siglip", tokenizer),
        "router": lambda: pair(tiny.VIT, tiny.BERT, tokenizer),
        "open_clip": lambda: ModelConfig(name=request.getfixturevalue("open_clip_name"), pretrained=False),
        "image": lambda: lone_image(tiny.TIMM_RESNET),
        "text": lambda: lone_text(tiny.BERT, tokenizer),
    }[kind]()
    a, first = save(config, tmp_path / "a", seed=0)
    b, second = save(config, tmp_path / "b", seed=1)
    merged = mmcl.merge(a, b, 0.25, device="cpu")
    assert merged.model.logit_scale.log_scale.item() == pytest.approx(1.25)
    if kind == "siglip":
        assert merged.model.logit_bias.item() == pytest.approx(-5.0)
    states = [model.state_dict() for model in (first, second, merged.model)]
    for name, tensor in states[2].items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, 0.75 * states[0][name] + 0.25 * states[1][name])
    ends = [mmcl.merge(a, b, alpha, device="cpu") for alpha in (0.0, 1.0)]
    for end, name in zip(ends, (a, b), strict=True):
        loaded = mmcl.load(name, "cpu")
        if loaded.model.has_image_tower:
            pictures = sample_pictures()
            assert np.array_equal(end.encode_images(pictures), loaded.encode_images(pictures))
        if loaded.model.has_text_tower:
            assert np.array_equal(end.encode_texts(WORDS), loaded.encode_texts(WORDS))
    assert has_batch_norm(merged.model) == (kind == "image")


@pytest.fixture(scope="module")
def open_clip_name(tmp_path_factory: pytest.TempPathFactory) -> str:
    import open_clip

    path: Path = tmp_path_factory.mktemp("open_clip") / "tiny-clip.json"
    path.write_text(json.dumps(tiny.OPEN_CLIP))
    open_clip.add_model_config(path)
    return path.stem


def test_a_model_merges_with_its_saved_copy(tokenizer: str, tmp_path: Path) -> None:
    """What the hub serves and what a run exports are two spellings of one architecture."""
    from mmcl.towers.joint import JointTowers

    model = build_model(joint("clip", tokenizer))
    towers = model.towers
    assert isinstance(towers, JointTowers)
    assert model.preprocessing is not None
    hub = tmp_path / "hub"
    towers.model.logit_scale = nn.Parameter(torch.tensor(1.0))
    towers.model.save_pretrained(hub)
    del towers.model.logit_scale
    model.preprocessing.to_processor().save_pretrained(hub)
    model.tokenizer.backend.save_pretrained(hub)  # type: ignore[union-attr]
    loaded = mmcl.load(hub, "cpu")
    export_model(loaded.model, tmp_path / "run" / "model", ModelCardFacts("x"))
    merged = mmcl.merge(hub, tmp_path / "run", 0.3, device="cpu")
    np.testing.assert_array_equal(merged.encode_texts(WORDS), loaded.encode_texts(WORDS))


def altered(tokenizer: str, kind: str, folder: Path) -> TwoTower:
    """The same CLIP but for one thing."""
    vision, text = dict(tiny.PATCHES), dict(tiny.POSITIONS)
    fields = {"model_type": "clip", "vision_config": vision, "text_config": text, "projection_dim": 8}
    if kind == "heads":
        vision["num_attention_heads"] = 4
    elif kind == "width":
        fields["projection_dim"] = 4
    elif kind == "dropout":
        vision["attention_dropout"] = 0.1
    elif kind == "tokenizer":
        path = Path(save_tokenizer(folder)) / "tokenizer.json"
        path.write_text(path.read_text().replace('"a": 4', '"a": 5').replace('"greek": 5', '"greek": 4'))
        tokenizer = str(folder)
    model = build_model(ModelConfig.model_validate({"config": fields, "tokenizer": tokenizer}))
    if kind == "pixels":
        assert model.preprocessing is not None
        model.preprocessing = model.preprocessing.with_fields(None, (0.4, 0.5, 0.5), None)
    elif kind == "bias":
        model.logit_bias = nn.Parameter(torch.tensor(1.0))
    return model


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("heads", "model.config.vision_config.num_attention_heads is 2 in A and 4 in B"),
        ("width", "model.config.projection_dim is 8 in A and 4 in B"),
        ("tokenizer", "the tokenizers differ: 'a' is 4 in A and 5 in B"),
        ("pixels", r"preprocessing.mean is \[0.5, 0.5, 0.5\] in A and \[0.4, 0.5, 0.5\] in B"),
        ("bias", "only B has a logit_bias"),
    ],
)
def test_the_first_difference_is_named(kind: str, message: str, tokenizer: str, tmp_path: Path) -> None:
    a = build_model(joint("clip", tokenizer))
    with pytest.raises(UserError, match=rf"^A and B cannot be merged: {message}; merging needs one architecture"):
        check_mergeable(a, altered(tokenizer, kind, tmp_path), "A", "B")


def test_dropout_is_no_difference(tokenizer: str, tmp_path: Path) -> None:
    check_mergeable(build_model(joint("clip", tokenizer)), altered(tokenizer, "dropout", tmp_path), "A", "B")


def test_other_towers_and_other_poolings_are_refused(tokenizer: str) -> None:
    clip, bert = build_model(joint("clip", tokenizer)), build_model(pair(tiny.VIT, tiny.BERT, tokenizer))
    last = build_model(pair(tiny.VIT, tiny.BERT, tokenizer, None, {"pooling": "cls"}))
    with pytest.raises(UserError, match=r"architecture is JointTowers clip in A and PairTowers vit bert in B"):
        check_mergeable(clip, bert, "A", "B")
    with pytest.raises(UserError, match=r"pooling is image_pooling=mean, text_pooling=mean in A and .*=cls in B"):
        check_mergeable(bert, last, "A", "B")
    with pytest.raises(UserError, match=r"architecture is .*timm_wrapper clip_text_model"):
        check_mergeable(build_model(resnet_pair(tokenizer)), bert, "A", "B")


def test_longest_texts_must_agree(tokenizer: str) -> None:
    long = build_model(lone_text(tiny.BERT, tokenizer))
    short = build_model(lone_text(tiny.BERT, tokenizer, max_length=7))
    with pytest.raises(UserError, match="the longest text is 12 tokens in A and 7 in B"):
        check_mergeable(long, short, "A", "B")
