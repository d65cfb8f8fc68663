"""Losses as arithmetic: tensors in, a scalar out, no state, torch only."""

from mmcl.losses.across import Across, Alone
from mmcl.losses.barlow_twins import barlow_twins_loss
from mmcl.losses.byol import byol_loss
from mmcl.losses.clip import clip_loss
from mmcl.losses.clip_captions import clip_captions_loss
from mmcl.losses.cosent import cosent_loss
from mmcl.losses.distillation import distillation_loss, feature_distillation_loss
from mmcl.losses.info_nce import info_nce_loss
from mmcl.losses.instance_discrimination import estimate_normaliser, nce_loss
from mmcl.losses.margin import batch_margin_loss, margin_loss
from mmcl.losses.moco import moco_loss
from mmcl.losses.n_pair import n_pair_loss
from mmcl.losses.nt_xent import nt_xent_loss
from mmcl.losses.siglip import siglip_loss
from mmcl.losses.simcse import simcse_loss
from mmcl.losses.sinkhorn import sinkhorn
from mmcl.losses.skip_gram import skip_gram_loss
from mmcl.losses.sup_con import sup_con_loss
from mmcl.losses.swav import swav_loss
from mmcl.losses.triplet import batch_triplet_loss, triplet_loss

__all__ = [
    "Across",
    "Alone",
    "barlow_twins_loss",
    "batch_margin_loss",
    "batch_triplet_loss",
    "byol_loss",
    "clip_captions_loss",
    "clip_loss",
    "cosent_loss",
    "distillation_loss",
    "estimate_normaliser",
    "feature_distillation_loss",
    "info_nce_loss",
    "margin_loss",
    "moco_loss",
    "n_pair_loss",
    "nce_loss",
    "nt_xent_loss",
    "siglip_loss",
    "simcse_loss",
    "sinkhorn",
    "skip_gram_loss",
    "sup_con_loss",
    "swav_loss",
    "triplet_loss",
]
