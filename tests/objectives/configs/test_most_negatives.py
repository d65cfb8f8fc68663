"""How many negatives an anchor has, counted by hand for a batch of 8 rows."""

from __future__ import annotations

import math
import typing
from typing import Any

import pytest
from pydantic import TypeAdapter

from mmcl.objectives.configs import AnyObjective
from mmcl.objectives.objective import DataFacts
from tests.objectives.small_modules import FACTS, batch_of, module_of, step

ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyObjective)
VIEWS = ("image.0", "image.1", "image.2")
COUNTS: list[tuple[dict[str, Any], int | None]] = [
    ({"type": "clip"}, 7),
    ({"type": "clip", "memory": 20}, 27),
    ({"type": "siglip"}, 7),
    # 7 other texts and 20 past ones for a picture, as many pictures for a text.
    ({"type": "siglip", "memory": 20}, 27),
    ({"type": "info_nce", "memory": 5}, 12),
    ({"type": "distillation"}, None),
    # Both views of 7 other rows.
    ({"type": "simclr"}, 14),
    ({"type": "simclr", "views": VIEWS, "memory": 10}, 31),
    ({"type": "simcse"}, 7),
    ({"type": "simcse", "memory": 4}, 11),
    # 7 other positives, 8 hard negatives, its own among them.
    ({"type": "simcse_supervised"}, 15),
    ({"type": "simcse_supervised", "hard_negative_weight": 0}, 14),
    ({"type": "simcse_supervised", "views": ("text.0", "text.1")}, 7),
    ({"type": "simcse_supervised", "views": ("text.0", "text.1", "text.2", "text.3"), "memory": 3}, 26),
    ({"type": "n_pair", "memory": 1}, 8),
    ({"type": "cosent"}, None),
    ({"type": "supcon"}, 14),
    # One of the 7 other rows must be of its class.
    ({"type": "supcon", "views": ("image.0",), "memory": 2}, 8),
    ({"type": "cross_entropy"}, None),
    ({"type": "triplet"}, 14),
    ({"type": "triplet", "views": ("image.0",), "positives": "labels"}, 6),
    ({"type": "triplet", "views": ("image.0", "text.0"), "memory": 5}, 12),
    ({"type": "margin", "views": VIEWS}, 21),
    ({"type": "margin", "views": ("image.0",), "positives": "labels", "memory": 1}, 8),
    ({"type": "moco", "queue_size": 100}, 100),
    ({"type": "moco", "queue_size": 100, "symmetric": True}, 100),
    ({"type": "moco_v3"}, 7),
    ({"type": "byol"}, None),
    ({"type": "memory_bank", "num_noise": 10}, 10),
    # There are 24 training rows.
    ({"type": "memory_bank"}, 24),
    ({"type": "swav"}, None),
    ({"type": "barlow_twins"}, None),
    ({"type": "skip_gram", "num_negatives": 6}, 6),
    ({"type": "mlm"}, None),
]


@pytest.mark.parametrize(("fields", "count"), COUNTS)
def test_negatives_of_an_anchor_are_counted(fields: dict[str, Any], count: int | None) -> None:
    assert ADAPTER.validate_python(fields).most_negatives(FACTS) == count


def test_every_method_is_counted() -> None:
    configs = typing.get_args(typing.get_args(AnyObjective)[0])
    assert {fields["type"] for fields, _ in COUNTS} == {config.model_fields["type"].default for config in configs}


def test_a_stream_does_not_limit_the_noise() -> None:
    assert ADAPTER.validate_python({"type": "memory_bank"}).most_negatives(DataFacts(batch_size=8)) == 4096


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "clip", "memory": 12},
        {"type": "info_nce", "memory": 12},
        {"type": "simclr", "memory": 12},
        {"type": "simcse", "memory": 12},
        {"type": "n_pair", "memory": 12},
        {"type": "moco", "queue_size": 12},
    ],
)
def test_with_the_positive_it_is_what_the_chance_level_is_the_logarithm_of(
    fields: dict[str, Any], tokenizer: str
) -> None:
    config = ADAPTER.validate_python(fields)
    module = module_of(config, tokenizer)
    for seed in range(2):
        step(module, batch_of(seed=seed))  # 16 rows fill the memory
    chance = module(batch_of(seed=2)).chances[config.type]
    assert round(math.exp(chance)) == config.most_negatives(FACTS) + 1
