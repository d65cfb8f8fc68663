from __future__ import annotations

import pytest
import torch
from torchvision.transforms import v2

from mmcl.data.crop import draw_crop


@pytest.mark.parametrize("size", [(375, 500), (500, 375), (224, 224), (7, 19), (1, 200), (200, 1), (1, 1), (300, 60)])
@pytest.mark.parametrize("areas", [(0.08, 1.0), (0.9, 1.0), (1.0, 1.0), (0.05, 0.14)])
def test_crops_are_torchvisions_and_leave_the_generator_where_it_would(
    size: tuple[int, int], areas: tuple[float, float]
) -> None:
    crop = v2.RandomResizedCrop(8, scale=areas)
    for seed in range(40):
        torch.manual_seed(seed)
        expected = crop.make_params([torch.empty(3, *size)])
        after = torch.rand(1)
        torch.manual_seed(seed)
        found = draw_crop(*size, areas)
        assert dict(zip(("top", "left", "height", "width"), found, strict=True)) == expected
        assert torch.equal(torch.rand(1), after)
