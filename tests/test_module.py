from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs import CLIPConfig, SimCSEConfig
from tests.processes import run_processes
from tests.tiny import bert_alone, random_batch, resnet_pair, save_tokenizer, vit_bert_pair

pytestmark = pytest.mark.xdist_group("processes")

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
ZERO = {torch.float32: 1e-6, torch.float64: 1e-14}


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Norm of the difference over the norm of what is expected."""
    return float((found - expected).norm()) / float(expected.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("bounds", [[0, 6, 12], [0, 5, 12], [0, 4, 8, 12]], ids=["6+6", "5+7", "4+4+4"])
@pytest.mark.parametrize("pair", [resnet_pair, vit_bert_pair], ids=["resnet-clip", "vit-bert"])
def test_gradients_over_processes_equal_one_process(
    tmp_path: Path, pair: Any, bounds: list[int], dtype: torch.dtype
) -> None:
    config = pair(save_tokenizer(tmp_path / "tokenizer"))
    batch = random_batch(12, config.image.image_size, num_groups=9)
    objectives = [CLIPConfig(weight=0.7), CLIPConfig(weight=0.3)]
    results = run_processes(
        "module_gradients",
        len(bounds) - 1,
        tmp_path / "processes",
        config=config,
        objectives=objectives,
        batch=batch,
        bounds=bounds,
        dtype=dtype,
    )

    reference = ContrastiveModule(build_model(config), objectives).to(dtype)
    output = reference(batch)
    output.loss.backward()
    expected = {name: parameter.grad for name, parameter in reference.named_parameters() if parameter.requires_grad}
    whole = max(float(grad.norm()) for grad in expected.values())
    assert "model.logit_scale.log_scale" in expected
    for result in results:
        assert torch.equal(result["sample_ids"], batch.sample_ids)
        assert result["chance"] == pytest.approx(math.log(12))
        assert relative_error(result["loss"], output.loss.detach()) < TOLERANCE[dtype]
        for name, grad in expected.items():
            if float(grad.norm()) < ZERO[dtype] * whole:
                # Zero by symmetry (a key's bias, a bias before batch norm): what is there is rounding.
                assert float(result["grads"][name].norm()) < ZERO[dtype] * whole, name
            else:
                assert relative_error(result["grads"][name], grad) < TOLERANCE[dtype], name


def test_local_batch_norm_is_another_objective(tmp_path: Path) -> None:
    config = resnet_pair(save_tokenizer(tmp_path / "tokenizer"), batch_norm="local")
    batch = random_batch(12, 32)
    arguments = {"config": config, "objectives": [CLIPConfig()], "batch": batch, "dtype": torch.float64}
    result = run_processes("module_gradients", 2, tmp_path / "processes", bounds=[0, 6, 12], **arguments)[0]
    reference = ContrastiveModule(build_model(config), [CLIPConfig()]).double()
    reference(batch).loss.backward()
    name, parameter = next(iter(reference.named_parameters()))
    assert relative_error(result["grads"][name], parameter.grad) > 1e-2


def test_weights_add_up(tmp_path: Path) -> None:
    config = vit_bert_pair(save_tokenizer(tmp_path))
    model = build_model(config).eval()
    batch = random_batch(6, 16)
    once = ContrastiveModule(model, [CLIPConfig()])(batch)
    twice = ContrastiveModule(model, [CLIPConfig(weight=0.5), CLIPConfig(weight=2.0)])(batch)
    torch.testing.assert_close(twice.loss, 2.5 * once.loss)
    assert twice.chance == pytest.approx(2.5 * math.log(6))
    assert list(twice.losses) == ["clip", "clip-2"]


def test_the_loss_is_float32_under_autocast(tmp_path: Path) -> None:
    module = ContrastiveModule(build_model(vit_bert_pair(save_tokenizer(tmp_path))).eval(), [CLIPConfig()])
    with torch.autocast("cpu", torch.bfloat16):
        output = module(random_batch(6, 16))
    assert output.loss.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_gradients_of_sorted_rows_are_those_of_the_unsorted_batch(tmp_path: Path, dtype: torch.dtype) -> None:
    model = build_model(vit_bert_pair(save_tokenizer(tmp_path)))
    module = ContrastiveModule(model, [CLIPConfig(), SimCSEConfig()]).to(dtype)
    batch = random_batch(24, 16, longest_text=31)
    calls, grads, losses = [], [], []
    model.towers.text_model.register_forward_pre_hook(lambda *call: calls.append(call))
    for skips_padding in (False, True):
        model.towers.skips_padding = skips_padding
        module.zero_grad()
        output = module(batch)
        output.loss.backward()
        losses.append(output.loss.detach())
        grads.append({name: parameter.grad for name, parameter in module.named_parameters() if parameter.requires_grad})
    assert len(calls) > 3  # one of them whole
    torch.testing.assert_close(losses[1], losses[0], rtol=TOLERANCE[dtype], atol=0)
    whole = max(float(grad.norm()) for grad in grads[0].values())
    for name, grad in grads[0].items():
        # Of parameters without a gradient, such as a key's bias, there is rounding alone.
        if float(grad.norm()) > ZERO[dtype] * whole:
            assert relative_error(grads[1][name], grad) < TOLERANCE[dtype], name


def test_two_passes_go_through_in_one_forward_with_dropout_of_their_own(tmp_path: Path) -> None:
    model = build_model(bert_alone(save_tokenizer(tmp_path), dropout=0.2))
    module, calls = ContrastiveModule(model, [SimCSEConfig()]).train(), []
    model.towers.backbone.register_forward_pre_hook(lambda *call: calls.append(call))
    batch = random_batch(3, 16)
    views = module.encode(batch)
    assert len(calls) == 1
    assert list(views) == [("text.0", 0), ("text.0", 1)]
    first, second = (view.embeddings for view in views.values())
    assert not torch.isclose(first, second).all(dim=1).any()
    module.eval()
    for view in module.encode(batch).values():
        torch.testing.assert_close(view.embeddings, model.encode_text(batch.texts[0]).embeddings)
