"""The engine under the softmax losses: log-sum-exps of a score matrix that is never held.

``s_ij = scale * (q_i . k_j)`` is computed one tile at a time. The forward pass keeps the log-sums alone; the backward
pass computes each tile again. One tile serves both directions: with row sums r, column sums c and their gradients
g, ``dS = g_r exp(s - r) + g_c exp(s - c)``, ``dQ += dS K``, ``dK += dS^T Q``. That is 8 n m D operations for rows and
columns together (two score products, two gradients), and half of it where the matrix is symmetric. Memory is the
gradients and two tiles.

Float32 needs care at large scales. Where all scores of a tile lie within `SAFE_RANGE` of each other one exponential,
shifted by a constant, is exact for every row and every column; elsewhere each direction takes its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmcl.losses.marks import Marks

# Rows and columns of a tile. On a processor the two buffers (2 MiB each) stay near it and the products run at the rate
# of large ones; larger tiles were no faster at D = 128 and 512, one thread. On a GPU fewer and larger launches are
# wanted; there the buffers take 64 MiB each.
CPU_TILE = (512, 1024)
GPU_TILE = (4096, 4096)
# Up to so many scores the exponentials are kept for the backward pass instead of computed again.
KEPT_SCORES = 1024 * 1024
# Up to so many scores plain torch operations are used: measured at D = 128 and 512, the engine's own overhead (0.2 ms)
# costs more than it saves below 256 x 256 (N = 128: 0.8 ms against 1.1), and nothing is between the two at 512 x 512.
DENSE_SCORES = 256 * 256
# Rows whose own scores are computed at once.
OWN_ROWS = 1024
# exp(-60) and 2^20 exp(60) are both normal float32 numbers.
SAFE_RANGE = 60.0
# No exponent of a weight is larger where it counts; a row without any entry (log-sum -inf) would overflow.
_MAX_EXPONENT = 80.0


def row_log_sums(queries: Tensor, keys: Tensor, scale: Tensor | float, excluded: Marks | None = None) -> Tensor:
    """Return ``(n,)``, the log-sum-exp of each row of ``scale * queries @ keys.T``.

    Args:
        queries: ``(n, D)`` float32 or float64, of any norm.
        keys: ``(m, D)``, likewise.
        scale: a scalar, with a gradient if it is a tensor that takes one.
        excluded: the entries that do not count. The sum of none is -inf, and takes no gradient.
    """
    return _log_sums(queries, keys, scale, excluded, is_two_way=False)[0]


def both_log_sums(
    queries: Tensor, keys: Tensor, scale: Tensor | float, excluded: Marks | None = None
) -> tuple[Tensor, Tensor]:
    """Return ``(n,)`` and ``(m,)``, the log-sum-exps of the rows and of the columns; see `row_log_sums`."""
    return _log_sums(queries, keys, scale, excluded, is_two_way=True)[:2]


def pair_log_sums(
    queries: Tensor, keys: Tensor, scale: Tensor | float, offset: int, excluded: Marks | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the log-sum-exps of rows and columns, and ``(n,)`` each query's score with key ``offset + i``.

    Those own scores must not be excluded.
    The gradient of those scores is added into that of the sums, so that there is one gradient of the embeddings' size.
    """
    return _log_sums(queries, keys, scale, excluded, is_two_way=True, own_offset=offset)


def self_log_sums(rows: Tensor, scale: Tensor | float, excluded: Marks) -> Tensor:
    """Return ``(n,)``, the row log-sum-exps of ``scale * rows @ rows.T``, at half the cost.

    Args:
        rows: ``(n, D)`` float32 or float64.
        scale: a scalar.
        excluded: the entries that do not count; as symmetric as the scores.
    """
    return _log_sums(rows, None, scale, excluded, is_two_way=True)[0]


def _log_sums(
    queries: Tensor,
    keys: Tensor | None,
    scale: Tensor | float,
    excluded: Marks | None,
    *,
    is_two_way: bool,
    own_offset: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log-sums of rows and of columns, and own scores; what was not asked for is empty."""
    # Some checkpoints hold it as one row.
    factor = torch.as_tensor(scale, dtype=queries.dtype, device=queries.device).reshape(())
    if len(queries) * len(queries if keys is None else keys) <= DENSE_SCORES:
        return _dense_log_sums(queries, queries if keys is None else keys, factor, excluded, is_two_way, own_offset)
    num_cols, takes_gradient = len(queries if keys is None else keys), torch.is_grad_enabled()
    plan = Plan(len(queries), num_cols, keys is None, is_two_way, excluded, takes_gradient, own_offset)
    sums: tuple[Tensor, Tensor, Tensor] = _LogSums.apply(queries, keys, factor, plan)
    return sums


def _dense_log_sums(
    queries: Tensor, keys: Tensor, scale: Tensor, excluded: Marks | None, is_two_way: bool, own_offset: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    scores = scale * queries @ keys.T
    mask = excluded.mask(slice(0, len(queries)), slice(0, len(keys)), scores.device) if excluded is not None else None
    scores = scores if mask is None else scores.masked_fill(mask, -torch.inf)
    own = scores.flatten()[:0] if own_offset is None else scores.diagonal(own_offset)
    return torch.logsumexp(scores, dim=1), torch.logsumexp(scores, dim=0) if is_two_way else own[:0], own


def blocks(length: int, size: int) -> Iterator[slice]:
    """Cut ``range(length)`` into slices of ``size``; the last may be shorter."""
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def tile_shape(num_rows: int, num_cols: int, device: torch.device) -> tuple[int, int]:
    """Return the rows and columns of a tile; small matrices are one tile."""
    if num_rows * num_cols <= KEPT_SCORES:
        return max(num_rows, 1), max(num_cols, 1)
    return CPU_TILE if device.type == "cpu" else GPU_TILE


@dataclass(frozen=True)
class Plan:
    """What is to be summed.

    Args:
        num_rows: n.
        num_cols: m.
        is_symmetric: the keys are the queries, and a tile above the diagonal stands for its mirror image as well.
        is_two_way: column sums are wanted too.
        excluded: the entries that do not count.
        takes_gradient: false where nothing may be kept for a backward pass.
        own_offset: the scores of row i with column ``own_offset + i`` are wanted too; None = they are not.
    """

    num_rows: int
    num_cols: int
    is_symmetric: bool
    is_two_way: bool
    excluded: Marks | None
    takes_gradient: bool = True
    own_offset: int | None = None

    def own_pairs(self) -> Iterator[tuple[slice, slice]]:
        """Blocks of rows and of the columns that are their own."""
        if self.own_offset is not None:
            for rows in blocks(self.num_rows, OWN_ROWS):
                yield rows, slice(rows.start + self.own_offset, rows.stop + self.own_offset)

    def tiles(self, device: torch.device) -> Iterator[tuple[slice, slice]]:
        """The tiles to compute, row by row."""
        height, width = tile_shape(self.num_rows, self.num_cols, device)
        # Square tiles only lie wholly above, on or below the diagonal.
        height, width = (max(height, width),) * 2 if self.is_symmetric else (height, width)
        for rows in blocks(self.num_rows, height):
            for cols in blocks(self.num_cols, width):
                if self.is_symmetric and cols.start < rows.start:
                    continue
                if self.excluded is None or not self.excluded.covers(rows, cols):
                    yield rows, cols

    def is_one_tile(self) -> bool:
        return self.num_rows * self.num_cols <= KEPT_SCORES


@dataclass
class Tile:
    """One tile of scores or exponentials.

    Args:
        values: ``(height, width)``; ``exp(s - shift)``, excluded entries 0, or, where ``shift`` is None, the scores
            themselves, excluded entries -inf.
        shift: a 0-dim tensor.
    """

    values: Tensor
    shift: Tensor | None


class TileMaker:
    """Computes the tiles of one score matrix, one after the other, in the same memory."""

    def __init__(self, queries: Tensor, keys: Tensor, scale: Tensor, plan: Plan) -> None:
        self.queries, self.keys, self.scale, self.excluded = queries, keys, scale, plan.excluded
        self._memory: dict[str, Tensor] = {}
        self._zero = scale.new_zeros(())
        self._scaled: tuple[int, Tensor] = (-1, queries)
        self._is_bounded = False
        if plan.num_rows and plan.num_cols:
            longest = queries.norm(dim=1).max() * keys.norm(dim=1).max()
            self._is_bounded = bool(scale.abs() * longest <= SAFE_RANGE)

    def buffer(self, name: str, height: int, width: int) -> Tensor:
        """Return ``(height, width)`` of memory that is used again at the next call of that name."""
        if name not in self._memory or self._memory[name].numel() < height * width:
            self._memory[name] = self.queries.new_empty(height * width)
        return self._memory[name][: height * width].view(height, width)

    def scores(self, rows: slice, cols: slice) -> Tensor:
        """Return ``scale * queries[rows] @ keys[cols].T``."""
        if self._scaled[0] != rows.start:
            self._scaled = rows.start, self.queries[rows] * self.scale
        scores = self.buffer("scores", rows.stop - rows.start, cols.stop - cols.start)
        return torch.mm(self._scaled[1], self.keys[cols].T, out=scores)

    def tile(self, rows: slice, cols: slice) -> Tile:
        """Return the tile's exponentials, or its scores where they lie too far apart."""
        scores = self.scores(rows, cols)
        shift = self._shift(scores)
        mask = None if self.excluded is None else self.excluded.mask(rows, cols, scores.device)
        if shift is None:
            return Tile(scores if mask is None else scores.masked_fill_(mask, -torch.inf), None)
        exponentials = scores.exp_() if self._is_bounded else scores.sub_(shift).exp_()
        return Tile(exponentials if mask is None else exponentials.masked_fill_(mask, 0.0), shift)

    def _shift(self, scores: Tensor) -> Tensor | None:
        if self._is_bounded:
            return self._zero
        if scores.device.type != "cpu":
            return None  # Exponentials are cheap there, asking for the range is not.
        lowest, highest = torch.aminmax(scores)
        return highest if bool(highest - lowest <= SAFE_RANGE) else None


def _sums_of(tile: Tile, dim: int) -> Tensor:
    if tile.shift is None:
        return torch.logsumexp(tile.values, dim=dim)
    return tile.values.sum(dim=dim).log_().add_(tile.shift)


def _weights_of(tile: Tile, sums: Tensor, gradient: Tensor) -> Tensor:
    """Return the factor by which the exponentials of a row (or column) enter the gradient of the scores."""
    assert tile.shift is not None
    return (tile.shift - sums).clamp_(max=_MAX_EXPONENT).exp_().mul_(gradient)


class _LogSums(torch.autograd.Function):
    """Row and column log-sum-exps; the gradient recomputes the tiles."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor | None, scale: Tensor, plan: Plan
    ) -> tuple[Tensor, Tensor, Tensor]:
        columns = queries if keys is None else keys
        has_columns = plan.is_two_way and not plan.is_symmetric
        row_sums = queries.new_full((plan.num_rows,), -torch.inf)
        # In the symmetric case what a column sums up is what its row sums up, on the other side of the diagonal.
        col_sums = row_sums if plan.is_symmetric else queries.new_full((plan.num_cols,), -torch.inf)
        maker = TileMaker(queries, columns, scale, plan)
        ctx.kept = None
        for rows, cols in plan.tiles(queries.device):
            tile = maker.tile(rows, cols)
            row_sums[rows] = torch.logaddexp(row_sums[rows], _sums_of(tile, 1))
            if plan.is_two_way and not (plan.is_symmetric and rows == cols):
                col_sums[cols] = torch.logaddexp(col_sums[cols], _sums_of(tile, 0))
            if plan.takes_gradient and plan.is_one_tile():
                ctx.kept = tile
        ctx.plan = plan
        ctx.save_for_backward(queries, keys, scale, row_sums, None if plan.is_symmetric else col_sums)
        own = [torch.linalg.vecdot(queries[rows], columns[cols]) * scale for rows, cols in plan.own_pairs()]
        outputs = row_sums, col_sums if has_columns else row_sums.new_empty(0), torch.cat([row_sums[:0], *own])
        ctx.mark_non_differentiable(*(unused for unused in outputs[1:] if len(unused) == 0))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        queries, keys, scale, *sums = ctx.saved_tensors
        with torch.autocast(queries.device.type, enabled=False):
            gradient = _ScoreGradient(ctx, queries, keys, scale, sums, grad_outputs)
            return (*gradient.of_inputs(), None)


class _ScoreGradient:
    """From the gradients of the log-sums to those of queries, keys and scale."""

    def __init__(
        self,
        ctx: Any,
        queries: Tensor,
        keys: Tensor | None,
        scale: Tensor,
        sums: list[Tensor],
        gradients: tuple[Tensor, ...],
    ) -> None:
        self.plan: Plan = ctx.plan
        self.kept: Tile | None = ctx.kept
        self.wants_queries, self.wants_keys, self.wants_scale, _ = ctx.needs_input_grad
        self.queries, self.keys, self.scale = queries, keys, scale
        self.rows = _without_empty(sums[0], gradients[0])
        is_symmetric, is_two_way = self.plan.is_symmetric, self.plan.is_two_way
        self.cols = self.rows if is_symmetric else _without_empty(sums[1], gradients[1]) if is_two_way else None
        self.own_gradient = gradients[2]
        self.maker = TileMaker(queries, queries if keys is None else keys, scale, self.plan)

    def of_inputs(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return the gradients of queries, keys and scale, each where it is wanted."""
        is_symmetric, columns = self.plan.is_symmetric, self.maker.keys
        via_queries = self.wants_queries or is_symmetric or (self.wants_scale and not self.wants_keys)
        d_queries = torch.zeros_like(self.queries) if via_queries else None
        d_keys = d_queries if is_symmetric else torch.zeros_like(columns) if self.wants_keys else None
        for rows, cols in self.plan.tiles(self.queries.device):
            d_scores = self._of_tile(self.kept or self.maker.tile(rows, cols), rows, cols)
            if d_queries is not None:
                d_queries[rows].addmm_(d_scores, columns[cols])
            if d_keys is not None and not (is_symmetric and rows == cols):
                d_keys[cols].addmm_(d_scores.T, self.queries[rows])
        for rows, cols in self.plan.own_pairs():
            weights = self.own_gradient[rows, None]
            if d_queries is not None:
                d_queries[rows].addcmul_(weights, columns[cols])
            if d_keys is not None:
                d_keys[cols].addcmul_(weights, self.queries[rows])
        d_scale = self._of_scale(d_queries, d_keys) if self.wants_scale else None
        for gradient in (d_queries, None if is_symmetric else d_keys):
            if gradient is not None:
                gradient.mul_(self.scale)
        return d_queries if self.wants_queries else None, None if is_symmetric else d_keys, d_scale

    def _of_scale(self, d_queries: Tensor | None, d_keys: Tensor | None) -> Tensor:
        """The scores are linear in the scale: ``d scale = sum of dS * (q . k)``; the gradients are not yet scaled."""
        if d_queries is None:
            assert d_keys is not None
            return _inner_product(d_keys, self.maker.keys)
        # In the symmetric case each row has taken both of its roles.
        return _inner_product(d_queries, self.queries) / (2 if self.plan.is_symmetric else 1)

    def _of_tile(self, tile: Tile, rows: slice, cols: slice) -> Tensor:
        out = self.maker.buffer("gradient", *tile.values.shape)
        row_sums, row_gradient = (values[rows] for values in self.rows)
        if tile.shift is None:
            torch.sub(tile.values, row_sums[:, None], out=out).exp_().mul_(row_gradient[:, None])
            if self.cols is None:
                return out
            col_sums, col_gradient = (values[cols] for values in self.cols)
            return out.add_((tile.values - col_sums).exp_().mul_(col_gradient))
        row_weights = _weights_of(tile, row_sums, row_gradient)[:, None]
        if self.cols is None:
            return torch.mul(tile.values, row_weights, out=out)
        col_sums, col_gradient = (values[cols] for values in self.cols)
        torch.add(row_weights, _weights_of(tile, col_sums, col_gradient), out=out)
        return out.mul_(tile.values)


def _inner_product(left: Tensor, right: Tensor) -> Tensor:
    """Return the sum of the products of all entries; no third matrix."""
    return torch.linalg.vecdot(left.flatten(), right.flatten())


def _without_empty(sums: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Make sums of nothing +inf and their gradient 0, so that every weight they give is 0 and none is NaN."""
    is_empty = sums == -torch.inf
    return sums.masked_fill(is_empty, torch.inf), gradient.masked_fill(is_empty, 0.0)
