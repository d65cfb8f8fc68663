from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mmcl.cli.main import main
from mmcl.data.loader import build_train_data
from mmcl.errors import UserError
from mmcl.model import TwoTower, build_model
from mmcl.module import ContrastiveModule
from mmcl.recipe import Recipe
from mmcl.recipe_files import dump_recipe
from mmcl.recipe_model import ModelConfig
from mmcl.recipe_tuning import TuningConfig
from mmcl.towers.layers import layers_of
from mmcl.towers.pair import PairTowers
from mmcl.training.accelerator import build_accelerator
from mmcl.training.observer import Observer
from mmcl.training.optimizer import build_optimizer, set_lr
from mmcl.training.run import run_recipe
from mmcl.training.trainer import Trainer
from mmcl.training.tuning import StartingPoint, tune
from tests.processes import run_processes
from tests.tiny import random_batch, save_tokenizer, tiny_recipe, vit_bert_pair
from tests.towers.tiny_configs import BERT, VIT, open_clip_of_two_layers, pair
from tests.training.runs import finish

pytestmark = pytest.mark.xdist_group("processes")

NUM_BLOCKS = 3
SIZES = {"hidden_size": 16, "num_hidden_layers": NUM_BLOCKS, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def clip(tokenizer: str, model_type: str = "clip", dropout: float = 0.0) -> ModelConfig:
    parts = {**SIZES, "attention_dropout": dropout}
    config = {
        "model_type": model_type,
        "text_config": {**parts, "max_position_embeddings": 12},
        "vision_config": {**parts, "image_size": 16, "patch_size": 8},
    }
    return ModelConfig.model_validate({"config": config, "tokenizer": tokenizer})


def two_blocks(tokenizer: str) -> ModelConfig:
    return pair({**VIT, "num_hidden_layers": 2}, {**BERT, "num_hidden_layers": 2}, tokenizer)


def objectives_of(*names: str) -> Any:
    return Recipe.model_validate({"data": "x", "objectives": list(names)}).objectives


def tuned(config: ModelConfig, **fields: Any) -> tuple[TwoTower, dict[int, float]]:
    model = build_model(config)
    return model, dict(tune(model, TuningConfig.model_validate(fields), seed=0))


def trained(model: TwoTower) -> set[str]:
    return {name for name, parameter in model.towers.named_parameters() if parameter.requires_grad}


def after_steps(model: TwoTower, num_steps: int = 3) -> dict[str, Tensor]:
    """The state after a few steps of SGD in training mode."""
    module = ContrastiveModule(model, objectives_of("clip")).train()
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    stepper = torch.optim.SGD(weights, lr=0.5)
    for seed in range(num_steps):
        size = model.preprocessing.size  # type: ignore[union-attr]
        module(random_batch(8, size, seed)).loss.backward()
        stepper.step()
        stepper.zero_grad()
    return {name: tensor.clone() for name, tensor in model.towers.state_dict().items()}


@pytest.mark.parametrize(("locked", "other"), [("image", "text"), ("text", "image")])
@pytest.mark.parametrize("form", ["clip", "pair"])
def test_a_locked_tower_stays_as_it_is_and_the_other_learns(form: str, locked: str, other: str, tokenizer: str) -> None:
    config = clip(tokenizer, dropout=0.2) if form == "clip" else vit_bert_pair(tokenizer, dropout=0.2)
    model, _ = tuned(config, **{locked: "locked"})
    before = {name: tensor.clone() for name, tensor in model.towers.state_dict().items()}
    changed = {name for name, tensor in after_steps(model).items() if not torch.equal(tensor, before[name])}
    parts = {"image": ("vision", "visual", "image"), "text": ("text",)}
    of_locked = {name for name in changed if any(part in name for part in parts[locked])}
    # A pair's projection is new, and has to learn.
    assert of_locked == ({f"{locked}_projection.weight"} if form == "pair" else set())
    assert {name for name in changed if any(part in name for part in parts[other])}


def test_a_locked_tower_is_in_evaluation_mode_in_training_too(tokenizer: str) -> None:
    model, _ = tuned(vit_bert_pair(tokenizer, dropout=0.5), image="locked")
    batch = random_batch(4, 16)
    model.train()
    first, second = (model.encode_image(batch.images[0]).embeddings for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    texts = [model.encode_text(batch.texts[0]).embeddings for _ in range(2)]
    assert not torch.equal(texts[0], texts[1])


def test_batch_norm_of_a_locked_tower_keeps_its_statistics(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, tuning={"image": "locked"}, ema=None)
    before = build_model(recipe.model, recipe.seed).state_dict()
    model = build_model(recipe.model, recipe.seed)
    data = build_train_data(recipe, model.preprocessing, model.tokenizer)
    trainer = Trainer(recipe, model, data, None, build_accelerator(recipe), Observer())
    trainer.train_step(next(data.batches(0, 0, 1)))
    statistics = [name for name in before if "running" in name]
    assert statistics
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in statistics)


def test_batch_norm_before_the_last_blocks_keeps_its_statistics_on_two_processes(tmp_path: Path) -> None:
    """There every batch norm is replaced by one that looks at all processes."""
    recipe = tiny_recipe(tmp_path, tuning={"image": 1}, ema=None, evaluate=[])
    (tmp_path / "tiny.yaml").write_text(dump_recipe(recipe))
    run = tmp_path / "two"
    assert main(["train", str(tmp_path / "tiny.yaml"), "--output", str(run), "--num-processes", "2"]) == 0
    start = build_model(recipe.model, recipe.seed).towers.state_dict()
    exported = load_file(run / "model" / "model.safetensors")
    statistics = {name: tensor for name, tensor in start.items() if name.endswith("running_mean")}
    ends = {
        name: next(key for key in exported if key.endswith(name.removeprefix("image_model"))) for name in statistics
    }
    moved = {name for name, tensor in statistics.items() if not torch.equal(exported[ends[name]], tensor)}
    assert moved
    assert {name for name in moved if "layer4" not in name} == set()


@pytest.mark.parametrize("count", [1, 2, NUM_BLOCKS])
def test_the_last_blocks_and_what_comes_after_them_are_trained(count: int, tokenizer: str) -> None:
    model, _ = tuned(clip(tokenizer), image=count, text="locked")
    blocks = range(NUM_BLOCKS - count, NUM_BLOCKS)
    expected = {name for name, _ in model.towers.named_parameters() if any(f"layers.{one}." in name for one in blocks)}
    expected = {name for name in expected if "vision_model" in name}
    expected |= {"model.vision_model.post_layernorm.weight", "model.vision_model.post_layernorm.bias"}
    assert trained(model) == expected | {"model.visual_projection.weight"}


def test_low_rank_updates_are_merged_at_export(tmp_path: Path) -> None:
    path = save_tokenizer(tmp_path / "tokenizer")
    fields = {"model": clip(path).model_dump(), "tuning": {"image": "lora", "text": "lora"}, "ema": 0.9}
    run = run_recipe(tiny_recipe(tmp_path, **fields, evaluate=["retrieval"]))
    exported = build_model(ModelConfig(name=str(run.path)))
    fresh = build_model(clip(path))
    assert exported.state_dict().keys() == fresh.state_dict().keys()
    changed = {
        name
        for name, tensor in exported.state_dict().items()
        if not torch.allclose(tensor, fresh.state_dict()[name], atol=1e-7)
    }
    assert any("layers.0.self_attn.q_proj.weight" in name for name in changed)
    assert all("layers." in name or "logit_scale" in name for name in changed)


def test_rates_fall_with_the_distance_from_the_output(tokenizer: str) -> None:
    recipe = Recipe.model_validate({"data": "x", "lr": 0.8, "weight_decay": 0.1})
    model, factors = tuned(clip(tokenizer), layer_decay=0.5)
    optimizer = build_optimizer(model, recipe, factors)
    set_lr(optimizer.param_groups, 0.8)
    rates = {name: group["lr"] for group in optimizer.param_groups for name in group["parameter_names"]}
    for part in ("vision_model", "text_model"):
        for number, rate in enumerate((0.1, 0.2, 0.4)):
            assert rates[f"towers.model.{part}.encoder.layers.{number}.mlp.fc1.weight"] == pytest.approx(rate)
    assert rates["towers.model.text_model.embeddings.token_embedding.weight"] == pytest.approx(0.05)
    assert rates["towers.model.visual_projection.weight"] == pytest.approx(0.8)
    assert rates["logit_scale.log_scale"] == pytest.approx(0.8)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_an_update_has_the_rate_of_its_block(tokenizer: str) -> None:
    model, factors = tuned(clip(tokenizer), image="lora", text="lora", layer_decay=0.5)
    found = {name: factors[id(weight)] for name, weight in model.towers.named_parameters() if "lora_A" in name}
    assert {value for name, value in found.items() if "layers.0." in name} == {0.125}
    assert {value for name, value in found.items() if "layers.2." in name} == {0.5}


def test_projections_of_a_pair_have_a_rate_of_their_own(tokenizer: str) -> None:
    model, factors = tuned(two_blocks(tokenizer), image="locked", projection_lr_factor=20, layer_decay=0.5)
    assert isinstance(model.towers, PairTowers)
    projections = {id(one.weight) for one in (model.towers.image_projection, model.towers.text_projection)}
    assert {factors[key] for key in projections} == {20}
    # Two blocks, what comes before them and, where there is anything, what comes after.
    others = {value for key, value in factors.items() if key not in projections}
    assert {0.125, 0.25, 0.5} <= others <= {0.125, 0.25, 0.5, 1}


def test_the_way_back_by_hand() -> None:
    module: Any = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(2.0)
    start = StartingPoint(module, 0.5, {id(module.weight): 0.1})
    module.weight.data.fill_(4.0)
    start.pull(lr=1.0)
    # 4 - 1.0 * 0.1 * 0.5 * (4 - 2)
    assert module.weight.item() == pytest.approx(3.9)
    StartingPoint(module, 1e9, {}).pull(lr=1.0)
    assert module.weight.item() == pytest.approx(3.9)


def test_l2_sp_keeps_a_run_nearer_to_its_start(tmp_path: Path) -> None:
    distances = []
    model = clip(save_tokenizer(tmp_path / "tokenizer")).model_dump()
    for strength in (0.0, 20.0):
        recipe = tiny_recipe(tmp_path / f"{strength:g}", model=model, tuning={"l2_sp": strength}, ema=None)
        start = build_model(recipe.model, recipe.seed).towers.state_dict()
        end = build_model(ModelConfig(name=str(run_recipe(recipe).path))).towers.state_dict()
        assert start.keys() == end.keys()
        distances.append(sum(float((end[name] - start[name]).square().sum()) for name in start))
    assert 0 < distances[1] < 0.8 * distances[0]


def test_with_everything_on_it_resumes_bit_for_bit(tmp_path: Path) -> None:
    path = save_tokenizer(tmp_path / "tokenizer")
    tuning = {"image": "lora", "text": 1, "lora": {"dropout": 0.2}, "layer_decay": 0.8, "l2_sp": 0.5}
    fields = {"model": clip(path, dropout=0.1).model_dump(), "tuning": tuning, "save_every": 1, "keep_checkpoints": 9}
    recipe = tiny_recipe(tmp_path, **fields)
    expected = finish(recipe, tmp_path / "whole")
    for step in (1, 4):
        target = tmp_path / f"resumed-{step}"
        name = f"step-{step:08d}"
        shutil.copytree(tmp_path / "whole" / "checkpoints" / name, target / "checkpoints" / name)
        assert finish(recipe, target, resume=True) == expected


def counting(calls: list[str], name: str) -> Any:
    def hook(*_: object) -> None:
        calls.append(name)

    return hook


@pytest.mark.parametrize("form", ["clip", "pair", "open_clip"])
def test_checkpointing_changes_no_gradient(form: str, tokenizer: str, tmp_path: Path) -> None:
    if form == "open_clip":
        config = open_clip_of_two_layers(tmp_path)
    else:
        config = clip(tokenizer, dropout=0.2) if form == "clip" else two_blocks(tokenizer)
    found, counts = [], []
    for checkpointing in (False, True):
        model, _ = tuned(config, gradient_checkpointing=checkpointing)
        calls: list[str] = []
        for modality in model.towers.modalities:
            norms = [part for part in layers_of(model.towers, modality).blocks[0].modules() if not [*part.children()]]
            norms[0].register_forward_pre_hook(counting(calls, modality))
        module = ContrastiveModule(model, objectives_of("clip")).double().train()
        torch.manual_seed(0)
        module(random_batch(6, 16 if form == "clip" else 32)).loss.backward()
        counts.append(sorted(calls))
        found.append({name: weight.grad for name, weight in module.named_parameters() if weight.grad is not None})
    # The backward pass goes through the blocks of both towers once more.
    assert counts == [["image", "text"], ["image", "image", "text", "text"]]
    assert found[0].keys() == found[1].keys()
    for name, grad in found[0].items():
        torch.testing.assert_close(found[1][name], grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("loss", ["clip", "siglip"])
@pytest.mark.parametrize(
    "tuning",
    [
        {"image": "locked"},
        {"text": "locked"},
        {"image": "lora", "text": "lora"},
        {"image": 1, "text": "locked"},
        {"image": "locked", "text": "lora", "gradient_checkpointing": True},
    ],
    ids=str,
)
def test_every_way_to_train_goes_with_every_loss_on_two_processes(
    tuning: dict[str, Any], loss: str, tokenizer: str, tmp_path: Path
) -> None:
    config, batch = clip(tokenizer, "siglip" if loss == "siglip" else "clip"), random_batch(12, 16, num_groups=10)
    parsed = TuningConfig.model_validate(tuning)
    results = run_processes(
        "module_gradients",
        2,
        tmp_path,
        config=config,
        objectives=objectives_of(loss),
        batch=batch,
        bounds=[0, 5, 12],
        dtype=torch.float64,
        tuning=parsed,
    )
    model, _ = tuned(config, **tuning)
    module = ContrastiveModule(model, objectives_of(loss)).double()
    module(batch).loss.backward()
    expected = {name: weight.grad for name, weight in module.named_parameters() if weight.requires_grad}
    for result in results:
        assert result["grads"].keys() == expected.keys()
        for name, grad in expected.items():
            assert grad is not None
            torch.testing.assert_close(result["grads"][name], grad, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ({"image": "locked", "text": "locked"}, "leaves nothing of the model to train"),
        ({"text": 4}, r"tuning.text: the tower has 3 blocks, got 4"),
        ({"projection_lr_factor": 20}, r"tuning.projection_lr_factor: only a pair, .* has new projections"),
    ],
)
def test_what_cannot_be_is_refused(tuning: dict[str, Any], message: str, tokenizer: str) -> None:
    with pytest.raises(UserError, match=message):
        tuned(clip(tokenizer), **tuning)


def test_a_tower_that_is_not_there_is_refused(tokenizer: str) -> None:
    text = vit_bert_pair(tokenizer).text
    assert text is not None
    with pytest.raises(UserError, match="no image tower"):
        tuned(ModelConfig.model_validate({"text": text.model_dump()}), image="locked")
