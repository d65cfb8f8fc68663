from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from mmcl.errors import UserError
from mmcl.model import build_model
from mmcl.objectives.configs.labels import CrossEntropyConfig
from mmcl.objectives.objective import DataFacts
from tests.objectives.small_modules import batch_of, module_of, only
from tests.objectives.steps import assert_processes_end_alike, batches_of
from tests.tiny import vit_bert_pair, without_some

pytestmark = pytest.mark.xdist_group("processes")


@pytest.mark.parametrize("view", ["image.0", "text.1"])
def test_it_classifies_the_features_of_the_labelled_rows(tokenizer: str, view: str) -> None:
    module, batch = module_of(CrossEntropyConfig(views=(view,), label_smoothing=0.1), tokenizer), batch_of()
    classifier = module.objectives["cross_entropy"].classifier
    scores = classifier(module.encode(batch)[view, 0].features)
    assert batch.labels is not None
    expected = F.cross_entropy(scores, batch.labels, ignore_index=-1, label_smoothing=0.1)
    output = module(batch)
    torch.testing.assert_close(output.loss, expected)
    assert output.chances["cross_entropy"] == pytest.approx(math.log(3))
    assert output.num_rows["cross_entropy"] == 6


def test_rows_without_a_picture_take_no_part(tokenizer: str) -> None:
    module, batch = module_of(CrossEntropyConfig(), tokenizer), batch_of()
    output = module(without_some(batch))
    assert output.num_rows["cross_entropy"] == 4
    torch.testing.assert_close(output.loss, module(only(batch, [1, 2, 4, 5])).loss)


def test_a_batch_without_a_label_gives_zero_with_gradients(tokenizer: str) -> None:
    module = module_of(CrossEntropyConfig(), tokenizer)
    output = module(replace(batch_of(), labels=None))
    output.loss.backward()
    assert output.loss.item() == 0
    classifier = module.objectives["cross_entropy"].classifier
    assert torch.equal(classifier.weight.grad, torch.zeros(3, 16))


def test_the_classifier_is_not_part_of_the_model(tokenizer: str) -> None:
    module = module_of(CrossEntropyConfig(), tokenizer)
    assert not any("classifier" in name for name in module.model.state_dict())


@pytest.mark.parametrize("names", [(), ("one",)])
def test_data_without_classes_are_refused(tokenizer: str, names: tuple[str, ...]) -> None:
    model = build_model(vit_bert_pair(tokenizer))
    with pytest.raises(UserError, match=r"at least 2 classes, and the data have [01]: .* data\.columns\.label"):
        CrossEntropyConfig().build(model, DataFacts(class_names=names))


def test_one_view_is_classified() -> None:
    with pytest.raises(ValidationError, match="must be one view"):
        CrossEntropyConfig(views=("image.0", "image.1"))
    assert CrossEntropyConfig().needs_labels


def test_labelled_rows_are_counted_over_all_processes(tokenizer: str, tmp_path: Path) -> None:
    # Some process has no labelled row, and a whole batch none.
    labels = torch.tensor([-1, 0, 1, -1, -1, 1, 0, 2, -1, 2, 0, -1])
    batches = [replace(batch, labels=labels.roll(step)) for step, batch in enumerate(batches_of())]
    batches[2] = replace(batches[2], labels=torch.full((12,), -1))
    facts = DataFacts(class_names=("a", "b", "c"))
    config = CrossEntropyConfig(label_smoothing=0.1)
    assert_processes_end_alike(tmp_path, vit_bert_pair(tokenizer), config, batches=batches, facts=facts)
