"""Losses as arithmetic: tensors in, a scalar out, no state, torch only."""

from mmcl.losses.across import Across, Alone
from mmcl.losses.clip import clip_loss
from mmcl.losses.info_nce import info_nce_loss
from mmcl.losses.nt_xent import nt_xent_loss
from mmcl.losses.siglip import siglip_loss
from mmcl.losses.simcse import simcse_loss
from mmcl.losses.sup_con import sup_con_loss

__all__ = [
    "Across",
    "Alone",
    "clip_loss",
    "info_nce_loss",
    "nt_xent_loss",
    "siglip_loss",
    "simcse_loss",
    "sup_con_loss",
]
