from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmcl.losses.precision import in_full_precision


@in_full_precision
def product(x: Tensor, others: list[Tensor], *, ids: Tensor | None = None) -> Tensor:
    """The sum of the products of all pairs of rows."""
    assert ids is None or ids.dtype == torch.int64
    return (x @ others[0].T).sum()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    x = torch.full((1, 2), 1.001, dtype=dtype, requires_grad=True)
    value = product(x, [x], ids=torch.arange(1))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(2 * x[0, 0].item() ** 2, rel=1e-6)
    value.backward()
    assert x.grad.dtype == dtype


def test_one_float64_tensor_makes_all_float64() -> None:
    assert product(torch.ones(1, 2), [torch.ones(1, 2, dtype=torch.float64)]).dtype == torch.float64


def test_autocast_is_off_inside_and_on_again_after() -> None:
    x = torch.full((1, 2), 1.001)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = product(x, [x])
        assert (x @ x.T).dtype == torch.bfloat16
    assert value.dtype == torch.float32


def test_the_loss_keeps_its_name_and_documentation() -> None:
    assert product.__name__ == "product"
    assert product.__doc__ is not None
