from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from evaluation.embedder import Described, Embedder, Prompted
from mmcl.data.images import UnreadableImage
from mmcl.embedder import ModelEmbedder, load
from mmcl.errors import UserError
from mmcl.export import ModelCardFacts, export_model
from mmcl.export.verify import sample_pictures
from mmcl.model import TwoTower, build_model
from mmcl.text.prompts import Prompts
from tests.tiny import resnet_pair, save_tokenizer, vit_bert_pair
from tests.towers.tiny_configs import BERT, VIT, lone_image, lone_text

TEXTS = ["a greek letter alpha beta", "alpha", "one two", "alpha"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def model(tokenizer: str) -> TwoTower:
    return build_model(resnet_pair(tokenizer))


def test_it_is_an_embedder(model: TwoTower) -> None:
    embedder = ModelEmbedder(model, "tiny")
    assert isinstance(embedder, Embedder)
    assert isinstance(embedder, Described)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_rows_are_in_order_whatever_the_batch(model: TwoTower, batch_size: int) -> None:
    embedder = ModelEmbedder(model, "tiny", batch_size=batch_size)
    pictures = sample_pictures()
    images, texts = embedder.encode_images(pictures), embedder.encode_texts(TEXTS)
    model.eval()
    with torch.no_grad():
        pixels = torch.stack([model.preprocessing.resize(picture) for picture in pictures])
        np.testing.assert_allclose(images, model.encode_image(pixels).embeddings.numpy(), atol=1e-6)
        for row, text in zip(texts, TEXTS, strict=True):
            np.testing.assert_allclose(row, model.encode_text(model.tokenizer([text])).embeddings[0], atol=1e-6)
    assert images.dtype == texts.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-6)


def test_equal_texts_are_encoded_once_and_come_out_equal(model: TwoTower, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder, encoded = ModelEmbedder(model, "tiny", batch_size=2), []
    encode = embedder._encode_strings
    monkeypatch.setattr(embedder, "_encode_strings", lambda texts: (encoded.extend(texts), encode(texts))[1])
    rows = embedder.encode_texts(["one two", "alpha", "one two", "a greek letter", "one two"])
    assert encoded == ["alpha", "one two", "a greek letter"]
    assert np.array_equal(rows[[0, 0]], rows[[2, 4]])


def test_a_lone_tower_says_what_it_encodes_and_refuses_the_rest(tokenizer: str, model: TwoTower) -> None:
    image = ModelEmbedder(build_model(lone_image(VIT)), "image")
    text = ModelEmbedder(build_model(lone_text(BERT, tokenizer)), "text")
    assert image.modalities == ("image",)
    assert text.modalities == ("text",)
    assert ModelEmbedder(model, "pair").modalities == ("image", "text")
    assert image.encode_images(sample_pictures()).shape == (3, 16)
    assert text.encode_texts(TEXTS).shape == (4, 16)
    with pytest.raises(UserError, match="has no text tower"):
        image.encode_texts(TEXTS)
    with pytest.raises(UserError, match="has no image tower"):
        text.encode_images(sample_pictures())
    assert (dict(text.preprocessing), image.preprocessing["size"]) == ({}, 32)
    assert isinstance(text, Embedder)
    assert isinstance(text, Described)
    assert len({image.fingerprint, text.fingerprint}) == 2


def test_texts_are_encoded_behind_a_prompt_by_its_name(model: TwoTower) -> None:
    embedder = ModelEmbedder(model, "tiny")
    plain, fingerprint = embedder.encode_texts(["alpha", "black alpha"]), ModelEmbedder(model, "tiny").fingerprint
    model.tokenizer.prompts = Prompts({"query": "black "})
    assert embedder.prompts == {"query": "black "}
    np.testing.assert_allclose(embedder.encode_texts(["alpha"], prompt="query")[0], plain[1], atol=1e-6)
    np.testing.assert_allclose(embedder.encode_texts(["alpha"])[0], plain[0], atol=1e-6)
    with pytest.raises(UserError, match='the model has no prompt "document"'):
        embedder.encode_texts(["alpha"], prompt="document")
    assert isinstance(embedder, Prompted)
    assert embedder.fingerprint != fingerprint


def test_a_default_prompt_goes_before_texts_without_another(model: TwoTower) -> None:
    embedder = ModelEmbedder(model, "tiny")
    plain = embedder.encode_texts(["alpha", "black alpha"])
    model.tokenizer.prompts = Prompts({"query": "black ", "none": ""}, default="query")
    np.testing.assert_allclose(embedder.encode_texts(["alpha"])[0], plain[1], atol=1e-6)
    np.testing.assert_allclose(embedder.encode_texts(["alpha"], prompt="none")[0], plain[0], atol=1e-6)


def test_nothing_gives_no_rows(model: TwoTower) -> None:
    embedder = ModelEmbedder(model, "tiny")
    assert embedder.encode_images([]).shape == (0, 8)
    assert embedder.encode_texts([]).shape == (0, 8)


def test_paths_and_pictures_are_the_same(model: TwoTower, tmp_path: Path) -> None:
    picture = sample_pictures()[0]
    picture.save(tmp_path / "x.png")
    embedder = ModelEmbedder(model, "tiny")
    rows = embedder.encode_images([picture, tmp_path / "x.png", str(tmp_path / "x.png")])
    assert np.array_equal(rows[0], rows[1])
    assert np.array_equal(rows[0], rows[2])


def test_pictures_of_any_mode_are_taken(model: TwoTower) -> None:
    embedder = ModelEmbedder(model, "tiny")
    clear = Image.new("RGBA", (40, 30), (255, 0, 0, 0))
    rows = embedder.encode_images([clear, Image.new("L", (40, 30), 255), Image.new("RGB", (40, 30), "white")])
    np.testing.assert_allclose(rows, np.broadcast_to(rows[2], rows.shape), atol=1e-6)


def test_an_unreadable_picture_is_an_error(model: TwoTower, tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="no such file"):
        ModelEmbedder(model, "tiny").encode_images([tmp_path / "none.png"])
    with pytest.raises(UnreadableImage, match="too large"):
        ModelEmbedder(model, "tiny", max_pixels=100).encode_images([Image.new("RGB", (11, 10))])


def test_encoding_changes_nothing_of_the_model(model: TwoTower) -> None:
    model.train()
    model.towers.text_model.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ModelEmbedder(model, "tiny").encode_images(sample_pictures())
    assert model.training
    assert model.towers.image_model.training
    assert not model.towers.text_model.training, "a part that was frozen stays so"
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_mode_comes_back_after_an_error(model: TwoTower, tmp_path: Path) -> None:
    model.train()
    with pytest.raises(UnreadableImage):
        ModelEmbedder(model, "tiny").encode_images([tmp_path / "none.png"])
    assert model.training


class Caching(nn.Linear):
    """Makes a table the first time it is called, as some towers do for their positions."""

    table: torch.Tensor | None = None

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        if self.table is None:
            self.table = torch.full((self.out_features,), 2.0)
        return super().forward(rows) * self.table


def test_a_model_trains_on_after_encoding(model: TwoTower) -> None:
    model.towers.text_projection = Caching(16, 8, bias=False)
    ModelEmbedder(model, "tiny").encode_texts(TEXTS)
    model.encode_text(model.tokenizer(TEXTS)).embeddings.sum().backward()
    assert model.towers.text_projection.weight.grad is not None


def test_half_precision_stays_near(tokenizer: str) -> None:
    model = build_model(vit_bert_pair(tokenizer))
    full = ModelEmbedder(model, "tiny").encode_texts(TEXTS)
    half = ModelEmbedder(model, "tiny", precision="bf16").encode_texts(TEXTS)
    assert half.dtype == np.float32
    assert not np.array_equal(full, half)
    assert (full * half).sum(axis=1).min() > 0.99


def test_fingerprint_follows_everything_that_changes_embeddings(tokenizer: str) -> None:
    def of(change: Any = None, precision: Any = "fp32", **fields: Any) -> str:
        model = build_model(vit_bert_pair(tokenizer, **fields))
        if change is not None:
            change(model)
        return ModelEmbedder(model, "tiny", precision=precision).fingerprint

    def other_weight(model: TwoTower) -> None:
        model.towers.text_projection.weight.data[0, 0] += 1e-6

    def other_mean(model: TwoTower) -> None:
        model.preprocessing = model.preprocessing.with_fields(None, (0.4, 0.5, 0.5), None)

    def other_length(model: TwoTower) -> None:
        model.tokenizer.max_length = 5

    def other_pooling(model: TwoTower) -> None:
        model.towers.text_pooling = "last"

    def other_activation(model: TwoTower) -> None:
        model.towers.text_model.encoder.layer[0].intermediate.intermediate_act_fn = torch.nn.ReLU()

    same = of()
    assert same == of()
    changes = [of(change) for change in (other_weight, other_mean, other_length, other_pooling, other_activation)]
    assert len({same, *changes, of(precision="bf16")}) == 7


def test_load_takes_a_run_and_a_folder(tokenizer: str, tmp_path: Path) -> None:
    model = build_model(vit_bert_pair(tokenizer))
    export_model(model, tmp_path / "run" / "model", ModelCardFacts("x"))
    expected = ModelEmbedder(model, "memory", batch_size=2).encode_texts(TEXTS)
    for path in (str(tmp_path / "run"), tmp_path / "run" / "model"):
        loaded = load(path, device="cpu", batch_size=2)
        assert np.array_equal(loaded.encode_texts(TEXTS), expected)
        assert loaded.batch_size == 2
        assert loaded.name == loaded.pretrained == str(path)


def test_load_splits_open_clips_names(monkeypatch: pytest.MonkeyPatch, model: TwoTower) -> None:
    monkeypatch.setattr("mmcl.embedder.build_model", lambda config: model)
    loaded = load("ViT-B-32,openai", device="cpu")
    assert (loaded.name, loaded.pretrained) == ("ViT-B-32", "openai")


def test_load_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder without a model"):
        load(str(tmp_path))


def test_a_bare_string_is_refused_and_not_embedded_letter_by_letter(tmp_path: Path) -> None:
    embedder = ModelEmbedder(build_model(vit_bert_pair(save_tokenizer(tmp_path))), "tiny")
    with pytest.raises(UserError, match=r"encode_texts takes a list of texts, got 'black knight'; wrap it in \[ \]"):
        embedder.encode_texts("black knight")
    with pytest.raises(UserError, match="encode_images takes a list of pictures"):
        embedder.encode_images(tmp_path / "picture.png")


def test_a_mistyped_run_is_not_sought_on_the_hub(tmp_path: Path) -> None:
    (tmp_path / "runs" / "quickstart").mkdir(parents=True)
    with pytest.raises(UserError, match=r"there is no folder .*quikstart\. Did you mean .*quickstart"):
        load(str(tmp_path / "runs" / "quikstart"))


def test_the_untrained_embedder_has_other_weights_and_all_else(tokenizer: str) -> None:
    model = build_model(vit_bert_pair(tokenizer), seed=1)
    model.tokenizer.prompts = Prompts({"query": "black "}, default="query")
    embedder = ModelEmbedder(model, "tiny", batch_size=3, precision="bf16", pretrained="tag")
    state, before = torch.random.get_rng_state(), embedder.fingerprint
    untrained = embedder.untrained(seed=7)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert ModelEmbedder(model, "tiny", precision="bf16").fingerprint == before, "the model itself stays as it was"
    assert untrained.fingerprint == embedder.untrained(seed=7).fingerprint
    assert len({before, untrained.fingerprint, embedder.untrained(seed=8).fingerprint}) == 3
    assert (untrained.name, untrained.pretrained, untrained.batch_size) == ("tiny untrained", "", 3)
    assert (untrained.precision, untrained.prompts) == ("bf16", {"query": "black "})
    assert not np.allclose(untrained.encode_images(sample_pictures()), embedder.encode_images(sample_pictures()))


def test_the_untrained_embedder_is_a_fresh_build(tokenizer: str) -> None:
    trained = ModelEmbedder(build_model(vit_bert_pair(tokenizer), seed=1), "tiny")
    fresh = ModelEmbedder(build_model(vit_bert_pair(tokenizer), seed=3), "tiny")
    np.testing.assert_array_equal(trained.untrained(seed=3).encode_texts(TEXTS), fresh.encode_texts(TEXTS))
