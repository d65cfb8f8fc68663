"""Both forms of SimCSE through the whole module, beside their definitions written out, on one, two and three processes.

The definitions: arXiv:2104.08821, equations 1, 5 and 8; temperature 0.05, one direction, every text of every process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmcl.model import build_model
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs import SimCSEConfig, SupervisedSimCSEConfig
from tests.objectives.small_modules import FACTS
from tests.processes import run_processes
from tests.tiny import bert_alone, random_batch

pytestmark = pytest.mark.xdist_group("processes")

TEXTS = ("text.0", "text.1", "text.2", "text.3")
BATCH = random_batch(12, 4, seed=1, text_views=4)
CUTS = [[0, 5, 12], [0, 3, 4, 12]]
"""Where the rows of two and of three processes are cut: no two hold as many."""


def by_definition(anchors: Tensor, positives: Tensor, negatives: list[Tensor], alpha: float = 1.0) -> Tensor:
    """The mean of -log(exp(a_i p_i / T) / sum over all columns), column by column; of the own negatives alpha times."""
    total = torch.zeros((), dtype=anchors.dtype)
    for i, anchor in enumerate(anchors):
        columns = [(anchor @ positive / 0.05).exp() for positive in positives]
        for hard in negatives:
            columns += [(alpha if j == i else 1.0) * (anchor @ row / 0.05).exp() for j, row in enumerate(hard)]
        total = total - ((anchor @ positives[i] / 0.05).exp() / torch.stack(columns).sum()).log()
    return total / len(anchors)


def module_of(config: Any, tokenizer: str, dropout: float = 0.0) -> ContrastiveModule:
    return ContrastiveModule(build_model(bert_alone(tokenizer, dropout)), [config], FACTS).double()


def defined(module: ContrastiveModule, config: Any, encoded: Any) -> Tensor:
    """What the definition makes of the towers' output."""
    if config.type == "simcse":
        # The head is of training alone, and stands on the features, which are raw [CLS] where the tower pools that.
        head = module.objectives["simcse"].projector.head
        first, second = (F.normalize(head(view.features.double()), dim=-1) for view in encoded.values())
        return by_definition(first, second, [])
    anchors, positives, *negatives = (view.embeddings for view in encoded.values())
    return by_definition(anchors, positives, negatives, config.hard_negative_weight)


def gradients(module: ContrastiveModule, loss: Tensor) -> dict[str, Tensor]:
    """Of every parameter that has one."""
    module.zero_grad()
    loss.backward(retain_graph=True)
    return {name: weight.grad.clone() for name, weight in module.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize(
    "config",
    [
        SimCSEConfig(),
        SupervisedSimCSEConfig(views=TEXTS),
        SupervisedSimCSEConfig(views=TEXTS, hard_negative_weight=3.0),
        SupervisedSimCSEConfig(views=TEXTS, hard_negative_weight=0.25, keep_head=False),
    ],
    ids=["unsupervised", "supervised", "alpha-3", "alpha-0.25"],
)
def test_loss_and_gradients_are_those_of_the_definition_under_dropout(config: Any, tokenizer: str) -> None:
    module = module_of(config, tokenizer, dropout=0.2)
    encoded = module.encode(BATCH)
    expected = defined(module, config, encoded)
    found = module.losses_of(BATCH, encoded, {}).loss
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients(module, found), gradients(module, expected), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bounds", CUTS, ids=["two", "three"])
@pytest.mark.parametrize(
    "config",
    [
        # Two texts in the place of two dropout passes, which would differ from process to process.
        SimCSEConfig(views=TEXTS[:2]),
        SupervisedSimCSEConfig(views=TEXTS),
        SupervisedSimCSEConfig(views=TEXTS, hard_negative_weight=3.0),
    ],
    ids=["unsupervised", "supervised", "alpha-3"],
)
def test_processes_with_other_rows_each_have_the_definitions_loss_and_gradients(
    config: Any, bounds: list[int], tokenizer: str, tmp_path: Path
) -> None:
    module = module_of(config, tokenizer)
    expected = defined(module, config, module.encode(BATCH))
    wanted = gradients(module, expected)
    results = run_processes(
        "module_gradients",
        len(bounds) - 1,
        tmp_path,
        config=bert_alone(tokenizer),
        objectives=[config],
        batch=BATCH,
        bounds=bounds,
        dtype=torch.float64,
        facts=FACTS,
    )
    for result in results:
        torch.testing.assert_close(result["loss"], expected.detach(), rtol=1e-10, atol=0)
        assert result["num_rows"] == {config.type: 12}
        for name, grad in wanted.items():
            torch.testing.assert_close(result["grads"][name], grad, rtol=1e-8, atol=1e-11, msg=name)
