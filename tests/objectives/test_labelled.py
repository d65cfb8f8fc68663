from __future__ import annotations

from dataclasses import replace

import torch

from mmcl.objectives.configs.labels import CrossEntropyConfig
from mmcl.objectives.labelled import labelled
from mmcl.objectives.objective import EncodedBatch, Objective, ObjectiveOutput, Selected
from tests.objectives.small_modules import batch_of, module_of
from tests.tiny import without_some


class Spy(Objective):
    """Keeps what it selects."""

    found: list[Selected]

    def forward(self, encoded: EncodedBatch) -> ObjectiveOutput:
        self.found = [encoded.select(("image.0",)), labelled(encoded.select(("image.0",)))]
        return self.nothing(self.found[0])


def test_labelled_rows_are_kept_with_all_that_belongs_to_them(tokenizer: str) -> None:
    module = module_of(CrossEntropyConfig(), tokenizer)
    module.objectives["cross_entropy"] = spy = Spy()
    module(replace(without_some(batch_of()), group_ids=torch.arange(8) + 10))
    every, known = spy.found
    assert every.rows is not None
    assert every.rows.tolist() == [1, 2, 4, 5, 7]
    assert known.rows is not None
    assert known.rows.tolist() == [1, 2, 4, 5]
    assert known.labels.tolist() == [1, 2, 1, 2]
    assert known.group_ids.tolist() == [11, 12, 14, 15]
    assert known.sample_ids.tolist() == [1, 2, 4, 5]
    assert known.across.sizes == (4,)
    torch.testing.assert_close(known.views[0].features, every.views[0].features[:4])
