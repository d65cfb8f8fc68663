"""What every loss refuses: rows that do not belong together, and temperatures that are none.

Broadcasting would make a number of them, and the wrong one.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def check_same_shape(**tensors: Tensor) -> None:
    """Raise a ValueError where shapes differ, naming the first that does."""
    (first, expected), *others = tensors.items()
    for name, tensor in others:
        if tensor.shape != expected.shape:
            raise ValueError(
                f"{first} and {name} must have the same shape, got {tuple(expected.shape)} and {tuple(tensor.shape)}"
            )


def check_views(views: Sequence[Tensor], name: str = "views") -> None:
    """Raise a ValueError where the views of a sample differ in shape."""
    check_same_shape(**{f"{name}[{number}]": view for number, view in enumerate(views)})


def check_ids(num_rows: int, **ids: Tensor | None) -> None:
    """Raise a ValueError where ids, labels or marks are not one for each row; None is no ids."""
    for name, tensor in ids.items():
        if tensor is not None and tensor.shape != (num_rows,):
            raise ValueError(f"{name} must have shape ({num_rows},), one for each row, got {tuple(tensor.shape)}")


def check_temperature(temperature: Tensor | float) -> None:
    """Raise a ValueError where a temperature is not positive; one in a tensor is not read, which would wait for it."""
    if not isinstance(temperature, Tensor) and not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
