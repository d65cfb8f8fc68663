from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mmcl.losses.clip import clip_loss
from mmcl.losses.info_nce import info_nce_loss
from mmcl.losses.n_pair import n_pair_loss
from mmcl.losses.siglip import siglip_loss
from mmcl.losses.simcse import simcse_loss
from mmcl.objectives.configs.cross_modal import CLIPConfig, InfoNCEConfig, SigLIPConfig
from mmcl.objectives.configs.labels import MarginConfig, SupConConfig, TripletConfig
from mmcl.objectives.configs.views import NPairConfig, SimCLRConfig, SimCSEConfig, SupervisedSimCSEConfig
from tests.objectives.small_modules import batch_of, embeddings_of, module_of, step
from tests.objectives.steps import assert_processes_end_alike, assert_resumes_bit_for_bit, batches_of
from tests.tiny import vit_bert_pair, without_some

pytestmark = pytest.mark.xdist_group("processes")

# A config with a memory of 12 rows, and its remembered views.
REMEMBERED: list[tuple[Any, tuple[str, ...]]] = [
    (CLIPConfig(memory=12), ("image.0", "text.0")),
    (SigLIPConfig(memory=12), ("image.0", "text.0")),
    (InfoNCEConfig(memory=12), ("text.0",)),
    (SimCSEConfig(memory=12, head=None, views=("text.0", "text.1")), ("text.1",)),
    (SupervisedSimCSEConfig(memory=12, keep_head=False), ("text.1",)),
    (SupervisedSimCSEConfig(memory=12, keep_head=False, symmetric=True), ("text.1", "text.0")),
    (MarginConfig(memory=12), ("image.0",)),
    (MarginConfig(memory=12, views=("image.0", "text.0")), ("image.0", "text.0")),
]


@pytest.mark.parametrize(("config", "views"), REMEMBERED, ids=lambda value: getattr(value, "type", None))
def test_the_memory_holds_the_last_rows_oldest_overwritten_first(
    config: Any, views: tuple[str, ...], tokenizer: str
) -> None:
    module = module_of(config, tokenizer)
    batches = [batch_of(8, seed, num_groups=7) for seed in range(2)]
    for batch in batches:
        step(module, batch)
    memory = module.objectives[config.type].memory
    rows, ids = memory.filled()
    for number, view in enumerate(views):
        first, second = (embeddings_of(module, batch, (view,))[0] for batch in batches)
        torch.testing.assert_close(rows[number], torch.cat([second[4:], first[4:], second[:4]]))
    groups = batches[0].group_ids
    assert ids.tolist() == torch.cat([groups[4:], groups[4:], groups[:4]]).tolist()
    assert not rows.requires_grad


def test_what_an_update_has_not_confirmed_is_not_remembered(tokenizer: str) -> None:
    module = module_of(InfoNCEConfig(memory=12), tokenizer)
    module(batch_of())
    assert module.objectives["info_nce"].num_past == 0


LOSSES: list[tuple[Any, Any]] = [
    (CLIPConfig(memory=12), lambda v, o, g: clip_loss(*v[:2], 1 / 0.07, g, memory=(*o[:2], g))),
    (SigLIPConfig(memory=12), lambda v, o, g: siglip_loss(*v[:2], 10.0, -10.0, g, memory=(*o[:2], g))),
    (InfoNCEConfig(memory=12), lambda v, o, g: info_nce_loss(*v[:2], 1 / 0.07, g, memory=(o[1], g))),
    (SimCSEConfig(memory=12, head=None), lambda v, o, g: simcse_loss(*v[:2], group_ids=g, memory=(o[1], g))),
    (
        SupervisedSimCSEConfig(memory=12, keep_head=False),
        lambda v, o, g: simcse_loss(v[0], v[1], v[2][:, None], group_ids=g, memory=(o[1], g)),
    ),
    (
        SupervisedSimCSEConfig(memory=12, keep_head=False, views=("text.0", "text.1"), symmetric=True),
        lambda v, o, g: sum(simcse_loss(v[i], v[1 - i], group_ids=g, memory=(o[1 - i], g)) for i in (0, 1)) / 2,
    ),
]


@pytest.mark.parametrize(("config", "expected"), LOSSES, ids=lambda value: getattr(value, "type", None))
def test_remembered_rows_are_further_negatives_but_for_those_of_equal_group(
    config: Any, expected: Any, tokenizer: str
) -> None:
    module = module_of(config, tokenizer)
    past, now = batch_of(8, 0, num_groups=7), batch_of(8, 1, num_groups=7)
    before = module(now).chances[config.type]
    step(module, past)
    old, new = embeddings_of(module, past, config.views), embeddings_of(module, now, config.views)
    output = module(now)
    torch.testing.assert_close(output.loss, expected(new, old, now.group_ids))
    assert output.chances[config.type] > before


def test_n_pair_remembers_what_is_not_normalised(tokenizer: str) -> None:
    module = module_of(NPairConfig(memory=12), tokenizer)
    past, now = batch_of(seed=0), batch_of(seed=1)
    step(module, past)
    old = module.encode(past)["image.1", 0].projected
    anchors, positives = (module.encode(now)[view, 0].projected for view in ("image.0", "image.1"))
    expected = n_pair_loss(anchors, positives, 0.0, now.group_ids, memory=(old, past.group_ids))
    torch.testing.assert_close(module(now).loss, expected)


OVER_PROCESSES: list[Any] = [
    CLIPConfig(memory=16),
    SigLIPConfig(memory=16),
    InfoNCEConfig(memory=16, similarity="neg_euclidean"),
    SimCLRConfig(memory=16),
    SimCSEConfig(memory=16, views=("image.0", "text.0"), temperature=0.5),
    NPairConfig(memory=16),
    SupConConfig(memory=16),
    SupConConfig(memory=16, unlabelled="left_out", form="in"),
    TripletConfig(memory=16, views=("image.0", "text.0"), mining="hard"),
    MarginConfig(memory=16, positives="labels", mining="semi_hard"),
]


def labelled_batches() -> list[Any]:
    """Five batches in which few rows have a label, and not every row a picture or a text."""
    batches = [without_some(batch) for batch in batches_of()]
    labels = torch.tensor([-1, 0, 1, -1, -1, 1, 0, 2, -1, 2, 0, -1])
    return [replace(batch, labels=labels.roll(step)) for step, batch in enumerate(batches)]


@pytest.mark.parametrize("config", OVER_PROCESSES, ids=lambda config: config.type)
def test_five_steps_with_a_memory_are_the_same_on_several_processes(
    config: Any, tokenizer: str, tmp_path: Path
) -> None:
    model = vit_bert_pair(tokenizer, temperature=1.0)
    state = assert_processes_end_alike(tmp_path, model, config, batches=labelled_batches())
    num_filled, _ = state[f"objectives.{config.type}.memory.state"].tolist()
    assert num_filled == 16


@pytest.mark.parametrize("config", [CLIPConfig(memory=16), SupConConfig(memory=16)], ids=lambda config: config.type)
def test_a_memory_survives_resume_bit_for_bit(config: Any, tokenizer: str) -> None:
    assert_resumes_bit_for_bit(vit_bert_pair(tokenizer, temperature=1.0), config, labelled_batches())
