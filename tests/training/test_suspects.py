from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmcl.batch import PairBatch, TokenBatch
from mmcl.module import StepOutput
from mmcl.objectives.configs.cross_modal import CLIPConfig, InfoNCEConfig
from mmcl.objectives.configs.labels import SupConConfig
from mmcl.objectives.configs.momentum import MoCoConfig
from mmcl.objectives.configs.views import SimCSEConfig, SupervisedSimCSEConfig
from mmcl.training.suspects import SuspectFinder, find_suspects
from tests.tiny import random_batch

# At angles, in degrees: the anchor of row 0 is 10 from the positive of row 2 and 40 from its own.
ANCHORS, POSITIVES = torch.tensor([0.0, 90.0, 180.0]), torch.tensor([40.0, 95.0, 10.0])


def at(degrees: Tensor) -> Tensor:
    return torch.stack([degrees.deg2rad().cos(), degrees.deg2rad().sin()], dim=1)


def batch_of(num_rows: int = 3) -> PairBatch:
    """Rows of an anchor and a positive each."""
    batch = random_batch(num_rows, 4, text_views=2)
    anchors, positives = (tokens.part(0, num_rows) for tokens in batch.texts)
    names = [tuple(f"{kind}{row}" for row in range(num_rows)) for kind in "ap"]
    tokens = (replace(anchors, strings=names[0]), replace(positives, strings=names[1]))
    return replace(batch, texts=tokens, sample_ids=batch.sample_ids + 50)


def output_of(anchors: Tensor, positives: Tensor, seconds: Tensor | None = None) -> StepOutput:
    views = {"text.0": at(anchors), "text.1": at(positives)}
    second_views = {} if seconds is None else {"text.0": at(seconds)}
    return StepOutput(torch.zeros(()), {}, {}, {}, {}, views, second_views, torch.zeros(0))


def finder(config: Any = None, **options: Any) -> SuspectFinder:
    config = config or SupervisedSimCSEConfig()
    given = {"num_steps": 100, "steps_per_epoch": 10, "locate": lambda sample: (sample, "pairs.csv"), **options}
    return SuspectFinder({config.type: config}, **given)


def test_a_row_is_suspected_with_the_nearest_positive_of_another() -> None:
    groups = torch.arange(3)
    (first, second) = find_suspects(at(ANCHORS), at(POSITIVES), groups)
    assert (second.row, second.other) == (0, 2)
    assert second.cosine == pytest.approx(0.9848, abs=1e-4)
    assert second.own_cosine == pytest.approx(0.766, abs=1e-4)
    # The positive of row 2 is far from its anchor, and those of both others are nearer.
    assert (first.row, first.other) == (2, 1)


def test_rows_of_a_group_or_a_text_and_small_excesses_are_not_suspected() -> None:
    rows = at(ANCHORS), at(POSITIVES)
    assert [one.row for one in find_suspects(*rows, torch.tensor([0, 1, 0]))] == [2]
    texts = torch.tensor([[7, 1], [8, 2], [3, 7]])
    assert [one.row for one in find_suspects(*rows, torch.arange(3), texts)] == [2]
    assert [one.row for one in find_suspects(*rows, torch.arange(3), margin=0.3)] == [2]
    assert find_suspects(at(ANCHORS)[:1], at(POSITIVES)[:1], torch.arange(1)) == []


def test_examples_name_rows_texts_and_cosines_and_come_once(tmp_path: Path) -> None:
    looked, file = finder(), tmp_path / "suspects.jsonl"
    for step in (9, 19):
        entries, _ = looked.observe(step, batch_of(), output_of(ANCHORS, POSITIVES), file, {})
        assert entries == {"health/simcse_supervised/suspects": 2}
    first, second = map(json.loads, file.read_text().splitlines())
    assert second == {
        "step": 9,
        "objective": "simcse_supervised",
        "row": 50,
        "other_row": 52,
        "source": "pairs.csv",
        "text": "a0",
        "other_text": "p2",
        "cosine": 0.9848,
        "own_cosine": 0.766,
    }
    assert first["row"] == 52


def test_no_more_than_a_hundred_examples_are_kept(tmp_path: Path) -> None:
    file, num_rows = tmp_path / "suspects.jsonl", 150
    anchors = torch.arange(num_rows).float()
    entries, _ = finder().observe(9, batch_of(num_rows=num_rows), output_of(anchors, anchors.flip(0)), file, {})
    assert entries["health/simcse_supervised/suspects"] > 100
    assert len(file.read_text().splitlines()) == 100


def test_nothing_is_suspected_before_the_end_of_the_first_epoch(tmp_path: Path) -> None:
    assert finder().observe(8, batch_of(), output_of(ANCHORS, POSITIVES), tmp_path / "s", {}) == ({}, [])
    of_stream = finder(steps_per_epoch=None)
    assert of_stream.observe(89, batch_of(), output_of(ANCHORS, POSITIVES), None, {}) == ({}, [])
    assert of_stream.observe(90, batch_of(), output_of(ANCHORS, POSITIVES), None, {})[0]
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(("loss", "num_entries"), [(2.0, 1), (2.39, 0), (9.0, 0), (None, 1)])
def test_nothing_is_suspected_while_the_loss_is_at_chance(loss: float | None, num_entries: int) -> None:
    record = {"loss": loss, "chance": 2.4}
    assert len(finder().observe(9, batch_of(), output_of(ANCHORS, POSITIVES), None, record)[0]) == num_entries
    config, other = SupervisedSimCSEConfig(), CLIPConfig()
    several = SuspectFinder({config.type: config, "clip": other}, 100, 10, lambda sample: (sample, "pairs.csv"))
    named = {"loss": 0.1, "chance": 4.8, "loss/simcse_supervised": loss, "chance/simcse_supervised": 2.4}
    assert len(several.observe(9, batch_of(), output_of(ANCHORS, POSITIVES), None, named)[0]) == num_entries


def test_the_remedy_is_named_once(tmp_path: Path) -> None:
    looked, file = finder(), tmp_path / "suspects.jsonl"
    _, (warning,) = looked.observe(9, batch_of(), output_of(ANCHORS, POSITIVES), file, {})
    assert warning.startswith(
        "66.7% of the texts looked at are nearer to the positive of another row than to their own"
    )
    assert f"examples in {file}" in warning
    assert "data.equal_texts=templated" in warning
    assert looked.observe(19, batch_of(), output_of(ANCHORS, POSITIVES), file, {})[1] == []
    assert finder().observe(9, batch_of(), output_of(ANCHORS, ANCHORS), file, {}) == (
        {"health/simcse_supervised/suspects": 0},
        [],
    )


def test_of_unsupervised_simcse_the_positive_is_the_second_pass() -> None:
    looked = finder(SimCSEConfig())
    # Row 1 is nearer to the second pass of row 0 than its own second pass is.
    first, second = torch.tensor([0.0, 30.0, 180.0]), torch.tensor([25.0, 80.0, 180.0])
    entries, _ = looked.observe(9, batch_of(), output_of(first, POSITIVES, second), None, {})
    assert entries == {"health/simcse/suspects": 1}


def test_rows_without_one_of_the_texts_are_passed_over() -> None:
    batch = batch_of()
    tokens: TokenBatch = batch.texts[1]
    batch = replace(batch, texts=(batch.texts[0], tokens.part(1, 3)), text_rows=(torch.arange(3), torch.tensor([1, 2])))
    output = output_of(ANCHORS, POSITIVES)
    output.views["text.1"] = output.views["text.1"][1:]
    assert finder().observe(9, batch, output, None, {})[0] == {"health/simcse_supervised/suspects": 1}


@pytest.mark.parametrize("config", [CLIPConfig(), SupConConfig(views=("text.0", "text.1"))])
def test_only_texts_among_texts_are_looked_at(config: Any) -> None:
    assert not finder(config).views
    assert finder(InfoNCEConfig(views=("text.0", "text.1"))).views == {"info_nce": ("text.0", "text.1")}


@pytest.mark.parametrize("views", [("text.0", "text.1"), ("text.0", "text.0")])
def test_keys_that_the_model_itself_does_not_encode_are_passed_over(views: tuple[str, str]) -> None:
    assert finder(MoCoConfig(views=views)).observe(9, batch_of(), output_of(ANCHORS, POSITIVES), None, {}) == ({}, [])
