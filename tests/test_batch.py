from __future__ import annotations

from dataclasses import replace

import torch

from mmcl.batch import PairBatch
from tests.tiny import random_batch, without_some


def joined(parts: list[PairBatch], size: int) -> PairBatch:
    """Put parts of a partly paired batch together again."""
    starts = [part * size for part in range(len(parts))]
    image_rows = [
        part.image_rows + start for part, start in zip(parts, starts, strict=True) if part.image_rows is not None
    ]
    text_rows = [part.text_rows[0] + start for part, start in zip(parts, starts, strict=True) if part.text_rows]
    return PairBatch(
        tuple(torch.cat(views) for views in zip(*(part.images for part in parts), strict=True)),
        (),
        torch.cat([part.group_ids for part in parts]),
        torch.cat([part.sample_ids for part in parts]),
        None,
        torch.cat(image_rows),
        (torch.cat(text_rows),),
    )


def test_parts_of_a_partly_paired_batch_make_it_up() -> None:
    batch = without_some(random_batch(11, 4, num_classes=3))
    parts = [batch.part(start, min(start + 4, 11)) for start in range(0, 11, 4)]
    whole = joined(parts, 4)
    assert [len(part) for part in parts] == [4, 4, 3]
    assert batch.image_rows is not None
    assert batch.text_rows is not None
    assert whole.image_rows is not None
    assert whole.text_rows is not None
    assert torch.equal(whole.images[0], batch.images[0])
    assert torch.equal(whole.image_rows, batch.image_rows)
    assert torch.equal(whole.text_rows[0], batch.text_rows[0])
    assert torch.equal(torch.cat([part.texts[0].input_ids for part in parts]), batch.texts[0].input_ids)
    assert torch.equal(whole.sample_ids, batch.sample_ids)


def test_a_part_of_a_paired_batch_has_the_same_rows_of_everything() -> None:
    batch = random_batch(6, 4, image_views=2, text_views=2, num_classes=2)
    part = batch.part(2, 5)
    assert batch.labels is not None
    assert part.labels is not None
    assert torch.equal(part.labels, batch.labels[2:5])
    assert all(torch.equal(mine, whole[2:5]) for mine, whole in zip(part.images, batch.images, strict=True))
    assert torch.equal(part.texts[1].attention_mask, batch.texts[1].attention_mask[2:5])
    assert part.image_rows is None
    assert part.text_rows is None


def test_it_says_which_rows_have_a_view() -> None:
    batch = random_batch(6, 4)
    assert batch.rows_of("image.0") is None
    assert batch.rows_of("text.0") is None
    partly = without_some(batch)
    assert partly.rows_of("image.3") is partly.image_rows
    assert partly.text_rows is not None
    assert partly.rows_of("text.0") is partly.text_rows[0]


def test_moving_moves_everything_there_is() -> None:
    batch = without_some(random_batch(6, 4, num_classes=2)).to(torch.device("meta"))
    tensors = [
        *batch.images,
        batch.texts[0].input_ids,
        batch.group_ids,
        batch.sample_ids,
        batch.labels,
        batch.image_rows,
    ]
    assert batch.text_rows is not None
    assert all(tensor is not None and tensor.is_meta for tensor in [*tensors, *batch.text_rows])


def test_texts_go_with_their_tokens() -> None:
    batch = random_batch(5, 4)
    strings = ("a", "b", "c", "d", "e")
    batch = replace(batch, texts=(replace(batch.texts[0], strings=strings, text_ids=torch.arange(5)),))
    tokens = batch.part(1, 3).to(torch.device("cpu")).texts[0]
    assert tokens.strings == ("b", "c")
    assert tokens.text_ids is not None
    assert tokens.text_ids.tolist() == [1, 2]
