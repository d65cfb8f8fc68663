from __future__ import annotations

import pytest

from mmcl.objectives.configs.clustering import SwAVConfig
from mmcl.objectives.objective import Progress


@pytest.mark.parametrize(("step", "is_frozen"), [(0, True), (24, True), (25, False)])
def test_prototypes_are_frozen_for_so_many_epochs(step: int, is_frozen: bool) -> None:
    assert SwAVConfig(freeze_epochs=2.5).prototypes_are_frozen(Progress(step, 100, 10)) == is_frozen


def test_steps_count_before_epochs() -> None:
    config = SwAVConfig(freeze_steps=3, queue_start_step=0)
    assert not config.prototypes_are_frozen(Progress(3, 100, 10))
    assert config.queue_is_open(Progress(0, 100, 10))


def test_the_queue_opens_after_fifteen_epochs() -> None:
    assert not SwAVConfig().queue_is_open(Progress(149, 1000, 10))
    assert SwAVConfig().queue_is_open(Progress(150, 1000, 10))
