from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mmcl.errors import UserError
from mmcl.export import ModelCardFacts, export_model
from mmcl.export import export as module
from mmcl.model import build_model
from mmcl.recipe_model import ModelConfig
from tests.towers import tiny_configs as tiny
from tests.towers import tower_families
from tests.towers.tiny_configs import lone_image, lone_text, pair, scramble

CARD = ModelCardFacts("tiny")


@pytest.fixture
def config(tokenizer: str) -> ModelConfig:
    return pair(tiny.VIT, tiny.BERT, tokenizer)


def test_every_way_to_open_it_is_checked_and_holds(config: ModelConfig, tmp_path: Path) -> None:
    model = build_model(config)
    scramble(model)
    report = export_model(model, tmp_path / "run" / "model", CARD)
    assert report.form == "router"
    assert [check.name for check in report.checks] == ["mmcl", "towers", "sentence_transformers"]
    assert not report.failures
    assert report.folder == tmp_path / "run" / "model"


@pytest.mark.parametrize("name", ["vit", "convnext-mean", "resnet", "timm", "bert", "bert-head", "gpt2", "static"])
def test_every_way_to_open_one_tower_is_checked_and_holds(tokenizer: str, tmp_path: Path, name: str) -> None:
    config = {
        "vit": lone_image(tiny.VIT, pooling="cls"),
        "convnext-mean": lone_image(tiny.CONVNEXT, pooling="mean"),
        "resnet": lone_image(tiny.RESNET),
        "timm": lone_image(tiny.TIMM_RESNET),
        "bert": lone_text(tiny.BERT, tokenizer),
        "bert-head": lone_text(tiny.BERT, tokenizer, pooling="cls"),
        "gpt2": lone_text(tiny.GPT2, tokenizer, pooling="last"),
        "static": lone_text(tiny.STATIC, tokenizer),
    }[name]
    model = build_model(config)
    if name == "bert-head":
        model.keep_text_head()
    scramble(model)
    report = export_model(model, tmp_path / "model", CARD)
    assert report.form == ("static" if name == "static" else "single")
    ways = ["mmcl", "sentence_transformers"] if name == "static" else ["mmcl", "backbone", "sentence_transformers"]
    assert [check.name for check in report.checks] == ways
    assert not report.failures, [str(check) for check in report.failures]


@pytest.mark.parametrize("image_size", [None, 48])
def test_a_pretrained_timm_model_opens_with_its_own_transform(tmp_path: Path, image_size: int | None) -> None:
    """transformers looks for it in the model's own configuration, whatever lies beside it."""
    tower_families.save_timm(tmp_path / "timm", input_size=[3, 32, 32], crop_pct=0.875)
    tower_families.save_text_tower(tower_families.TEXT["bert"], tmp_path / "bert")
    fields = {"name": str(tmp_path / "timm"), "image_size": image_size, "image_mean": (0.1, 0.2, 0.3)}
    text = {"name": str(tmp_path / "bert"), "pooling": "pooler"}
    for config in ({"image": fields}, {"image": fields, "text": text}):
        model = build_model(ModelConfig.model_validate(config))
        report = export_model(model, tmp_path / str(len(config)), CARD)
        # Not a dual encoder, whose image processor cannot crop or resize as timm does.
        assert report.form == ("single" if len(config) == 1 else "router")
        assert len(report.checks) == 3
        assert not report.failures, [str(check) for check in report.failures]


def test_nothing_is_left_beside_it(config: ModelConfig, tmp_path: Path) -> None:
    export_model(build_model(config), tmp_path / "model", CARD)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_model_is_left_as_it_was(config: ModelConfig, tmp_path: Path) -> None:
    model = build_model(config)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trained = [parameter.requires_grad for parameter in model.parameters()]
    state = torch.get_rng_state()
    export_model(model, tmp_path / "model", CARD)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert [parameter.requires_grad for parameter in model.parameters()] == trained
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_an_earlier_export_is_replaced(config: ModelConfig, tmp_path: Path) -> None:
    export_model(build_model(config), tmp_path / "model", CARD)
    (tmp_path / "model" / "stray").write_text("of the earlier one")
    export_model(build_model(config, seed=1), tmp_path / "model", ModelCardFacts("second"))
    assert "# second" in (tmp_path / "model" / "README.md").read_text()
    assert not (tmp_path / "model" / "stray").exists()


def test_an_empty_folder_is_taken(config: ModelConfig, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    export_model(build_model(config), tmp_path / "model", CARD)


def test_a_folder_of_something_else_is_never_overwritten(config: ModelConfig, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds something that is not an exported model; give a new folder"):
        export_model(build_model(config), tmp_path / "model", CARD)
    assert (tmp_path / "model" / "thesis.tex").read_text() == "years of work"
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="holds something"):
        export_model(build_model(config), tmp_path / "file", CARD)


def test_an_interrupted_export_leaves_the_earlier_one(
    config: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_model(build_model(config), tmp_path / "model", ModelCardFacts("first"))

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_card", interrupt)
        with pytest.raises(KeyboardInterrupt):
            export_model(build_model(config), tmp_path / "model", CARD)
    assert "# first" in (tmp_path / "model" / "README.md").read_text()
    export_model(build_model(config), tmp_path / "model", ModelCardFacts("second"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "what was left over is gone"


def test_description_says_how_to_load_it(config: ModelConfig, tmp_path: Path) -> None:
    export_model(build_model(config), tmp_path / "model", CARD)
    description = json.loads((tmp_path / "model" / "mmcl.json").read_text())
    assert description["form"] == "router"
    assert description["pair"]["image"] == {"pooling": "mean", "dim": 16}
    assert description["pair"]["max_length"] == 12
