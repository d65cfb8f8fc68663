"""The objectives a recipe may name.

Their fields stand here, apart from their arithmetic, so that reading a recipe does not import torch. The union at the
end is the registry: one line for each method.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from mmcl.objectives.configs.clustering import SwAVConfig
from mmcl.objectives.configs.correlation import BarlowTwinsConfig
from mmcl.objectives.configs.cross_modal import CLIPConfig, DistillationConfig, InfoNCEConfig, SigLIPConfig
from mmcl.objectives.configs.graded import CoSENTConfig
from mmcl.objectives.configs.labels import CrossEntropyConfig, MarginConfig, SupConConfig, TripletConfig
from mmcl.objectives.configs.momentum import BYOLConfig, MemoryBankConfig, MoCoConfig, MoCoV3Config
from mmcl.objectives.configs.views import NPairConfig, SimCLRConfig, SimCSEConfig, SupervisedSimCSEConfig
from mmcl.objectives.configs.words import MLMConfig, SkipGramConfig

AnyObjective = Annotated[
    CLIPConfig
    | SigLIPConfig
    | InfoNCEConfig
    | DistillationConfig
    | SimCLRConfig
    | SimCSEConfig
    | SupervisedSimCSEConfig
    | NPairConfig
    | CoSENTConfig
    | SupConConfig
    | CrossEntropyConfig
    | TripletConfig
    | MarginConfig
    | MoCoConfig
    | MoCoV3Config
    | BYOLConfig
    | MemoryBankConfig
    | SwAVConfig
    | BarlowTwinsConfig
    | SkipGramConfig
    | MLMConfig,
    Field(discriminator="type"),
]


def expand_objective(value: Any) -> Any:
    """Turn the short forms ``clip`` and ``{clip: 0.5}`` (a weight) or ``{clip: {...}}`` into the whole mapping."""
    if isinstance(value, str):
        return {"type": value}
    if isinstance(value, dict) and len(value) == 1 and "type" not in value:
        ((name, rest),) = value.items()
        return {"type": name, **rest} if isinstance(rest, dict) else {"type": name, "weight": rest}
    return value
