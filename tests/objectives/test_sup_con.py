from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmcl.losses.nt_xent import nt_xent_loss
from mmcl.losses.sup_con import sup_con_loss
from mmcl.module import ContrastiveModule
from mmcl.objectives.configs.labels import SupConConfig
from tests.objectives.small_modules import batch_of, embeddings_of, module_of, only, step
from tests.objectives.steps import assert_processes_end_alike, batches_of
from tests.tiny import vit_bert_pair, without_some

pytestmark = pytest.mark.xdist_group("processes")

VIEWS = ("image.0", "image.1")


def test_it_is_the_sup_con_loss_behind_a_head_without_batch_norm(tokenizer: str) -> None:
    module, batch = module_of(SupConConfig(), tokenizer), batch_of()
    head = module.objectives["supcon"].projector.head
    assert [type(layer) for layer in head] == [nn.Linear, nn.ReLU, nn.Linear]
    views = [F.normalize(head(module.encode(batch)[view, 0].features)) for view in VIEWS]
    output = module(batch)
    torch.testing.assert_close(output.loss, sup_con_loss(views, batch.labels, 0.1))
    assert output.chances["supcon"] == pytest.approx(math.log(15))
    assert output.num_rows["supcon"] == 8


def test_of_one_view_there_is_no_chance_level(tokenizer: str) -> None:
    """Rows without another of their class count as 0."""
    assert module_of(SupConConfig(views=("image.0",)), tokenizer)(batch_of()).chances["supcon"] is None


@pytest.mark.parametrize("form", ["in", "out"])
def test_both_forms_are_to_be_had(tokenizer: str, form: Any) -> None:
    module, batch = module_of(SupConConfig(head=None, form=form, temperature=0.3), tokenizer), batch_of()
    views = embeddings_of(module, batch, VIEWS)
    torch.testing.assert_close(module(batch).loss, sup_con_loss(views, batch.labels, 0.3, form=form))


def nt_xent_of_row(views: list[torch.Tensor], row: int, temperature: float) -> torch.Tensor:
    """NT-Xent of both views of a row, by its definition."""
    every = torch.cat(views)
    losses = []
    for anchor, positive in ((row, row + len(views[0])), (row + len(views[0]), row)):
        scores = every @ every[anchor] / temperature
        others = torch.arange(len(every)) != anchor
        losses.append(torch.logsumexp(scores[others], dim=0) - scores[positive])
    return torch.stack(losses).sum()


def test_without_any_label_it_is_self_supervised(tokenizer: str) -> None:
    module, batch = module_of(SupConConfig(head=None), tokenizer), replace(batch_of(), labels=None)
    views = embeddings_of(module, batch, VIEWS)
    expected = torch.stack([nt_xent_of_row(views, row, 0.1) for row in range(8)]).sum() / 16
    torch.testing.assert_close(module(batch).loss, expected)


def test_left_out_rows_are_not_even_negatives(tokenizer: str) -> None:
    module, batch = module_of(SupConConfig(unlabelled="left_out"), tokenizer), batch_of()
    output = module(batch)
    assert output.num_rows["supcon"] == 6
    torch.testing.assert_close(output.loss, module(only(batch, [0, 1, 2, 4, 5, 6])).loss)


def test_unlabelled_rows_are_negatives_with_their_own_view(tokenizer: str) -> None:
    batch = batch_of()
    kept, left_out = (module_of(SupConConfig(unlabelled=how), tokenizer) for how in ("own_view", "left_out"))
    assert not torch.isclose(kept(batch).loss, left_out(batch).loss)


def test_rows_of_equal_group_are_never_negatives(tokenizer: str) -> None:
    module = module_of(SupConConfig(head=None), tokenizer)
    batch = replace(batch_of(num_groups=4), labels=None)
    views = embeddings_of(module, batch, VIEWS)
    expected = sup_con_loss(views, torch.full((8,), -1), 0.1, batch.group_ids)
    torch.testing.assert_close(module(batch).loss, expected)
    assert expected < sup_con_loss(views, torch.full((8,), -1), 0.1)


def test_rows_without_a_picture_take_no_part(tokenizer: str) -> None:
    module, batch = module_of(SupConConfig(), tokenizer), batch_of()
    output = module(without_some(batch))
    assert output.num_rows["supcon"] == 5
    torch.testing.assert_close(output.loss, module(only(batch, [1, 2, 4, 5, 7])).loss)


def test_only_labelled_rows_enter_the_memory(tokenizer: str) -> None:
    module: ContrastiveModule = module_of(SupConConfig(head=None, memory=20), tokenizer)
    batch = batch_of()
    first, _ = embeddings_of(module, batch, VIEWS)
    module(batch)
    module.after_optimizer_step()
    (past, labels), groups = module.objectives["supcon"].past_with_labels()
    assert labels.tolist() == [0, 1, 2, 1, 2, 0]
    assert groups.tolist() == [0, 1, 2, 4, 5, 6]
    torch.testing.assert_close(past, first[[0, 1, 2, 4, 5, 6]])
    views = embeddings_of(module, batch_of(seed=1), VIEWS)
    expected = sup_con_loss(views, batch.labels, 0.1, batch.group_ids, memory=(past, labels), memory_group_ids=groups)
    torch.testing.assert_close(module(batch_of(seed=1)).loss, expected)


def test_past_rows_of_an_anchors_group_are_no_negatives_whatever_their_labels(tokenizer: str) -> None:
    module: ContrastiveModule = module_of(SupConConfig(head=None, memory=20), tokenizer)
    step(module, batch_of())
    # Now without labels, so that the memory holds no positives: NT-Xent, which goes by groups.
    later = replace(batch_of(seed=1), labels=None)
    views = embeddings_of(module, later, VIEWS)
    (past, _), groups = module.objectives["supcon"].past_with_labels()
    expected = nt_xent_loss(views, 0.1, later.group_ids, memory=(past, groups))
    torch.testing.assert_close(module(later).loss, expected)
    assert expected < nt_xent_loss(views, 0.1, later.group_ids, memory=(past, groups + 100))


def test_it_needs_labels() -> None:
    assert SupConConfig().needs_labels


@pytest.mark.parametrize("form", ["in", "out"])
def test_left_out_rows_are_counted_over_all_processes(tokenizer: str, tmp_path: Path, form: Any) -> None:
    # Some process has no labelled row.
    labels = torch.tensor([-1, 0, 1, -1, -1, 1, 0, 2, -1, 2, 0, -1])
    batches = [replace(batch, labels=labels.roll(step)) for step, batch in enumerate(batches_of())]
    config = SupConConfig(unlabelled="left_out", form=form)
    assert_processes_end_alike(tmp_path, vit_bert_pair(tokenizer), config, batches=batches)


def test_groups_reach_over_processes_and_into_the_memory(tokenizer: str, tmp_path: Path) -> None:
    labels = torch.tensor([-1, 0, 1, -1, -1, 1, 0, 2, -1, 2, 0, -1])
    batches = [
        replace(batch, labels=labels.roll(step), group_ids=batch.group_ids % 7)
        for step, batch in enumerate(batches_of())
    ]
    assert_processes_end_alike(tmp_path, vit_bert_pair(tokenizer), SupConConfig(memory=10), batches=batches)
