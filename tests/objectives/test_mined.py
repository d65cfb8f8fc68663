from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from mmcl.losses.margin import batch_margin_loss
from mmcl.losses.triplet import batch_triplet_loss
from mmcl.objectives.configs.labels import MarginConfig, TripletConfig
from tests.objectives.small_modules import batch_of, embeddings_of, module_of, only, step
from tests.objectives.steps import assert_processes_end_alike, batches_of
from tests.tiny import vit_bert_pair, without_some

pytestmark = pytest.mark.xdist_group("processes")

VIEWS = ("image.0", "image.1")
LOSSES: dict[Any, Any] = {
    TripletConfig: partial(batch_triplet_loss, margin=0.2),
    MarginConfig: partial(batch_margin_loss, margin=1.0),
}


def test_views_of_one_modality_are_thrown_together(tokenizer: str) -> None:
    module, batch = module_of(TripletConfig(mining="all"), tokenizer), batch_of(num_groups=6)
    every = torch.cat(embeddings_of(module, batch, VIEWS))
    torch.testing.assert_close(module(batch).loss, batch_triplet_loss(every, batch.group_ids.repeat(2)))


def test_of_a_picture_and_a_text_each_looks_for_the_other(tokenizer: str) -> None:
    views = ("image.0", "text.0")
    module, batch = module_of(TripletConfig(views=views, mining="hard"), tokenizer), batch_of(num_groups=6)
    images, texts = embeddings_of(module, batch, views)
    ids = batch.group_ids
    both = [
        batch_triplet_loss(anchors, ids, candidates, ids, mining="hard")
        for anchors, candidates in ((images, texts), (texts, images))
    ]
    torch.testing.assert_close(module(batch).loss, torch.stack(both).mean())


def test_labels_decide_where_the_recipe_says_so(tokenizer: str) -> None:
    config = TripletConfig(views=("image.0",), positives="labels", mining="all")
    module, batch = module_of(config, tokenizer), batch_of()
    (rows,) = embeddings_of(module, batch, ("image.0",))
    output = module(batch)
    torch.testing.assert_close(output.loss, batch_triplet_loss(rows, batch.labels))
    assert output.num_rows["triplet"] == 6


@pytest.mark.parametrize("config_class", [TripletConfig, MarginConfig])
@pytest.mark.parametrize("views", [("image.0",), VIEWS, ("image.0", "text.0")])
def test_rows_of_one_group_are_no_negatives_whatever_their_labels(
    config_class: Any, views: tuple[str, ...], tokenizer: str
) -> None:
    config = config_class(views=views, positives="labels", mining="all", memory=12)
    module = module_of(config, tokenizer)
    labels = torch.tensor([0, 1, 2, -1, 1, 2, 0, 0])
    # Rows 0 and 4, 1 and 5, 2 and 6 are of one group each, and of two labels.
    past, now = (replace(batch_of(seed=seed, num_groups=4), labels=labels) for seed in (1, 2))
    step(module, past)
    known = labels >= 0
    old, new = embeddings_of(module, past, views), embeddings_of(module, now, views)
    ids, groups, loss = labels[known], now.group_ids[known], LOSSES[config_class]
    of_past = {"memory_group_ids": past.group_ids[known]}

    def expected(group_ids: torch.Tensor | None) -> torch.Tensor:
        if views != ("image.0", "text.0"):
            count, every = len(new), torch.cat([view[known] for view in new])
            repeated = None if group_ids is None else group_ids.repeat(count)
            return loss(every, ids.repeat(count), memory=(old[0][known], ids), group_ids=repeated, **of_past)
        both = [
            loss(
                new[one][known],
                ids,
                new[two][known],
                ids,
                memory=(old[two][known], ids),
                group_ids=group_ids,
                **of_past,
            )
            for one, two in ((0, 1), (1, 0))
        ]
        return torch.stack(both).mean()

    found = module(now).loss
    torch.testing.assert_close(found, expected(groups))
    assert not torch.isclose(found, expected(None))


def test_embeddings_are_compared_as_they_come_on_request(tokenizer: str) -> None:
    module, batch = module_of(TripletConfig(normalise=False, mining="all"), tokenizer), batch_of()
    every = torch.cat([module.encode(batch)[view, 0].projected for view in VIEWS])
    torch.testing.assert_close(module(batch).loss, batch_triplet_loss(every, batch.group_ids.repeat(2)))


def test_the_memory_is_searched_too(tokenizer: str) -> None:
    module = module_of(TripletConfig(mining="all", memory=12), tokenizer)
    past, now = batch_of(seed=1), batch_of(seed=2)
    step(module, past)
    first, _ = embeddings_of(module, past, VIEWS)
    every = torch.cat(embeddings_of(module, now, VIEWS))
    expected = batch_triplet_loss(every, now.group_ids.repeat(2), memory=(first, past.group_ids))
    torch.testing.assert_close(module(now).loss, expected)


def test_pictures_search_past_texts_and_texts_past_pictures(tokenizer: str) -> None:
    views = ("image.0", "text.0")
    module = module_of(TripletConfig(views=views, mining="all", memory=12), tokenizer)
    past, now = batch_of(seed=1), batch_of(seed=2)
    step(module, past)
    old, new = embeddings_of(module, past, views), embeddings_of(module, now, views)
    ids = now.group_ids
    both = [
        batch_triplet_loss(new[one], ids, new[other], ids, memory=(old[other], past.group_ids))
        for one, other in ((0, 1), (1, 0))
    ]
    torch.testing.assert_close(module(now).loss, torch.stack(both).mean())


def test_rows_without_a_picture_take_no_part(tokenizer: str) -> None:
    module, batch = module_of(MarginConfig(), tokenizer), batch_of()
    output = module(without_some(batch))
    assert output.num_rows["margin"] == 5
    torch.testing.assert_close(output.loss, module(only(batch, [1, 2, 4, 5, 7])).loss)


def test_only_labels_as_positives_need_labels() -> None:
    assert TripletConfig(positives="labels").needs_labels
    assert not TripletConfig().needs_labels


@pytest.mark.parametrize("views", [("image.0",), ("image.0", "image.1", "text.0")])
def test_views_that_cannot_be_compared_are_refused(views: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match=r"needs two views|views of one modality"):
        MarginConfig(views=views)


FIELDS: dict[str, dict[str, Any]] = {
    "labels": {"positives": "labels", "views": ("image.0",)},
    "labels and memory": {"positives": "labels", "views": ("image.0", "text.0"), "memory": 10},
    "thrown together": {"views": ("image.0", "image.1")},
    "pairs": {"views": ("image.0", "text.0")},
}


@pytest.mark.parametrize("mining", ["all", "semi_hard", "hard"])
@pytest.mark.parametrize("config_class", [TripletConfig, MarginConfig])
@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_several_processes_equal_one(
    config_class: Any, fields: dict[str, Any], mining: Any, tokenizer: str, tmp_path: Path
) -> None:
    # A process may have no labelled row at all, or none with another class.
    labels = torch.tensor([-1, 0, 1, -1, -1, 1, 0, 2, -1, 2, 0, -1])
    # Some rows of a group are on another process or in the memory, and are of another label.
    batches = [
        replace(batch, labels=labels.roll(step), group_ids=batch.group_ids % 7)
        for step, batch in enumerate(batches_of())
    ]
    config = config_class(mining=mining, **fields)
    assert_processes_end_alike(tmp_path, vit_bert_pair(tokenizer), config, batches=batches)
