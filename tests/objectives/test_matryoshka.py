from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.distributed import RowSizes
from mmcl.errors import UserError
from mmcl.losses.clip import clip_loss
from mmcl.losses.cosent import cosent_loss
from mmcl.losses.siglip import siglip_loss
from mmcl.losses.simcse import simcse_loss
from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs.base import MatryoshkaConfig
from mmcl.objectives.configs.cross_modal import CLIPConfig, InfoNCEConfig, SigLIPConfig
from mmcl.objectives.configs.graded import CoSENTConfig
from mmcl.objectives.configs.labels import TripletConfig
from mmcl.objectives.configs.views import NPairConfig, SupervisedSimCSEConfig
from mmcl.objectives.objective import Progress
from mmcl.training.grad_cache import GradCache
from tests.objectives.small_modules import CONFIGS, FACTS, batch_of, embeddings_of, module_of
from tests.processes import run_processes
from tests.tiny import random_batch, vit_bert_pair

pytestmark = pytest.mark.xdist_group("processes")

WIDTHS = (3, 5, 8)
"""8 is the whole."""
GRADED = torch.tensor([0, 1, 2, 3, 4, 5, 7])
"""The rows of `batch_of` that have a score."""


def supervised(**fields: Any) -> SupervisedSimCSEConfig:
    return SupervisedSimCSEConfig(keep_head=False, **fields)


def mean_over_widths(loss: Any, *views: Tensor) -> Tensor:
    """The mean of a loss of the first numbers of views, brought to unit norm again."""
    return torch.stack([loss(*(F.normalize(view[:, :width], dim=-1) for view in views)) for width in WIDTHS]).mean()


LOSSES: list[tuple[Any, Any]] = [
    (CLIPConfig(dims=(3, 5)), lambda a, b: clip_loss(a, b, 1 / 0.07)),
    (SigLIPConfig(dims=(3, 5)), lambda a, b: siglip_loss(a, b, 10.0, -10.0)),
    (InfoNCEConfig(dims=(5, 3)), lambda a, b: F.cross_entropy(a @ b.T / 0.07, torch.arange(8))),
    (supervised(dims=(3, 5)), lambda a, p, n: simcse_loss(a, p, n[:, None])),
    (CoSENTConfig(dims=(3, 5)), lambda a, b: cosent_loss(a[GRADED], b[GRADED], batch_of().scores[GRADED])),
]


@pytest.mark.parametrize(("config", "loss"), LOSSES, ids=lambda value: getattr(value, "type", None))
def test_the_loss_is_the_mean_over_widths_and_the_whole(config: Any, loss: Any, tokenizer: str) -> None:
    module, batch = module_of(config, tokenizer), batch_of()
    expected = mean_over_widths(loss, *embeddings_of(module, batch, config.views))
    output, whole = module(batch), module_of(config.model_copy(update={"dims": ()}), tokenizer)(batch)
    torch.testing.assert_close(output.loss, expected)
    assert not torch.allclose(output.loss, whole.loss, rtol=1e-3)
    assert output.chances == whole.chances
    assert output.num_rows == whole.num_rows


def test_products_are_of_the_first_numbers_as_they_are(tokenizer: str) -> None:
    module, batch = module_of(NPairConfig(dims=(3, 5)), tokenizer), batch_of()
    anchors, positives = (module.encode(batch)[view, 0].projected for view in ("image.0", "image.1"))
    losses = [F.cross_entropy(anchors[:, :width] @ positives[:, :width].T, torch.arange(8)) for width in WIDTHS]
    torch.testing.assert_close(module(batch).loss, torch.stack(losses).mean())


def test_equals_sentence_transformers_but_for_their_sum(tokenizer: str) -> None:
    losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    module, batch = module_of(supervised(dims=(3, 5)), tokenizer), batch_of()
    views = embeddings_of(module, batch, ("text.0", "text.1", "text.2"))

    class Model(torch.nn.Module):
        def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"sentence_embedding": features["rows"]}

        def get_embedding_dimension(self) -> int:
            return 8

    model = Model()
    peer = losses.MatryoshkaLoss(model, losses.MultipleNegativesRankingLoss(model, scale=20.0), [8, 5, 3])
    expected = peer([{"rows": view} for view in views], None) / 3
    torch.testing.assert_close(module(batch).loss, expected)


PARITY: list[Any] = [
    CLIPConfig(dims=(3, 5)),
    SigLIPConfig(dims=(4,)),
    supervised(dims=(3, 5), symmetric=True),
    CoSENTConfig(dims=(3, 5)),
    TripletConfig(dims=(3, 5), views=("image.0", "text.0"), mining="all"),
]


@pytest.mark.parametrize("config", PARITY, ids=lambda config: config.type)
def test_several_processes_equal_one(config: Any, tokenizer: str, tmp_path: Path) -> None:
    model, batch = vit_bert_pair(tokenizer), batch_of(12, num_groups=10)
    arguments = {"config": model, "objectives": [config], "batch": batch, "dtype": torch.float64, "facts": FACTS}
    results = run_processes("module_gradients", 2, tmp_path, bounds=[0, 5, 12], **arguments)
    module = ContrastiveModule(build_model(model), [config], FACTS).double()
    output = module(batch)
    output.loss.backward()
    for result in results:
        torch.testing.assert_close(result["loss"], output.loss.detach(), rtol=1e-10, atol=0)
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                torch.testing.assert_close(result["grads"][name], parameter.grad, rtol=1e-8, atol=1e-10)


def test_cached_gradients_are_those_of_the_whole_batch(tokenizer: str) -> None:
    config, batch = supervised(dims=(3, 5)), random_batch(12, 16, text_views=3)
    module = ContrastiveModule(build_model(vit_bert_pair(tokenizer)), [config], FACTS).double()
    module(batch).loss.backward()
    expected = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad()
    cache = GradCache(module, 5, lambda loss: loss.backward(), torch.enable_grad)
    cache.step(batch, RowSizes((12,)), Progress())
    for name, parameter in module.named_parameters():
        if name in expected:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-8, atol=1e-10)


def test_the_whole_width_is_not_given_again_nor_a_larger_one(tokenizer: str) -> None:
    for dim in (8, 9):
        with pytest.raises(UserError, match=rf"clip.dims must be less than 8, .*, got {dim}"):
            module_of(CLIPConfig(dims=(3, dim)), tokenizer)


@pytest.mark.parametrize("config", [one for one in CONFIGS if issubclass(one, MatryoshkaConfig)])
def test_widths_are_those_of_the_models_own_embeddings(config: Any) -> None:
    fields = config.model_fields
    without = {"head": None} if "head" in fields else {}
    assert config(dims=(3,), **without).widths == (3,)
    if "head" in fields:
        with pytest.raises(ValueError, match="head: null"):
            config(dims=(3,), head={})
    if "memory" in fields:
        with pytest.raises(ValueError, match="goes without a memory"):
            config(dims=(3,), memory=8, **without)
    for wrong in ((0,), (3, 3)):
        with pytest.raises(ValueError, match=r"greater than 0|differ"):
            config(dims=wrong, **without)
