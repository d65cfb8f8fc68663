"""The momentum encoder of MoCo and BYOL: a second encoder whose weights follow the first one's slowly."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from mmcl.batch_norm import has_batch_norm
from mmcl.distributed import is_distributed
from mmcl.model import Encoded
from mmcl.objectives.heads import Projector
from mmcl.objectives.views import modality_of, number_of
from mmcl.towers.by_length import encode_by_length
from mmcl.towers.copy_of_encoder import copy_of_encoder
from mmcl.towers.towers import MODALITIES, Towers

if TYPE_CHECKING:
    from mmcl.batch import PairBatch
    from mmcl.model import TwoTower

Buffers = Literal["own", "copy", "ema"]


class MomentumEncoder(nn.Module):
    """A twin of towers and projector without gradient: ``twin <- m twin + (1 - m) online`` (arXiv:1911.05722, eq. 2).

    It starts as a copy. Its weights are parameters that are not trained, so that a checkpoint holds them, and has its
    own dropout and batch statistics, being in training mode as the online network is.

    Args:
        model: whose towers it follows; not part of this module.
        projector: what it follows behind them; not part of this module either.
        views: that it encodes; of the towers only what these need is copied.
        buffers: what becomes of batch norm's running statistics: ``own`` are those of its own forwards, ``copy`` the
            online network's, ``ema`` an average of the online network's as the weights'. While training, batch norm
            normalises by the batch, whichever of them is kept.
    """

    def __init__(self, model: TwoTower, projector: Projector, views: Sequence[str], buffers: Buffers = "own") -> None:
        super().__init__()
        used = {modality_of(view) for view in views}
        self.towers = nn.ModuleDict(
            {modality: copy_of_encoder(model.towers, modality) for modality in MODALITIES if modality in used}
        )
        self.projector = deepcopy(projector).requires_grad_(False)
        self.buffers_follow = buffers

    @torch.no_grad()
    def encode(self, model: TwoTower, batch: PairBatch, view: str) -> Tensor:
        """Return what of a view goes into the projector, ``(n, W)``, a row for each row of the batch that has the view.

        Args:
            model: whose pictures' normalisation it shares.
            batch: of any size, such as a part of a batch whose gradients are cached.
            view: one of those it was made for.
        """
        modality, number = modality_of(view), number_of(view)
        towers = self.towers[modality]
        assert isinstance(towers, Towers)
        num_rows = len(batch.images[number] if modality == "image" else batch.texts[number])
        if num_rows == 0 and not (is_distributed() and has_batch_norm(towers)):
            # Many a tower cannot; one with batch norm must, as other processes wait for its part of the statistics.
            return next(towers.parameters()).new_zeros(0, self.projector.input_dim)
        if modality == "image":
            assert model.preprocessing is not None
            pixels = model.preprocessing.normalise(batch.images[number], model.pixel_mean, model.pixel_std)
            features, projected = towers.encode_image(pixels)
        else:
            features, projected = encode_by_length(towers, batch.texts[number])
        return self.projector.input_of(Encoded.of(features, projected))

    @torch.no_grad()
    def project(self, encoded: Tensor) -> Tensor:
        """Return ``(n, D)``, not normalised, of what `encode` returned. Batch norm in it needs the whole batch."""
        projected: Tensor = self.projector.head(encoded)
        return projected

    @torch.no_grad()
    def update(self, model: TwoTower, projector: Projector, momentum: float) -> None:
        """Move it towards the present weights.

        Args:
            model: as it was made with.
            projector: as it was made with.
            momentum: m, the weight of what it is, in [0, 1].
        """
        for twin in self.towers.values():
            self._follow(twin, model.towers, momentum)
        self._follow(self.projector, projector, momentum)

    def _follow(self, twin: nn.Module, online: nn.Module, momentum: float) -> None:
        # Tied weights go by one of their names, which need not be the same in a pruned copy.
        parameters = dict(online.named_parameters(remove_duplicate=False))
        for name, average in twin.named_parameters():
            average.lerp_(parameters[name].detach().to(average.dtype), 1 - momentum)
        if self.buffers_follow == "own":
            return
        buffers = dict(online.named_buffers(remove_duplicate=False))
        for name, kept in twin.named_buffers():
            if self.buffers_follow == "ema" and kept.is_floating_point():
                kept.lerp_(buffers[name].to(kept.dtype), 1 - momentum)
            else:
                kept.copy_(buffers[name])
