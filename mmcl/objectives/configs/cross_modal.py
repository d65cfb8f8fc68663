"""Objectives that compare pictures with texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationInfo, field_validator

from mmcl.objectives.configs.base import HeadConfig, MatryoshkaConfig, PairObjectiveConfig
from mmcl.objectives.views import FIRST_NEGATIVE, ViewName, modality_of

if TYPE_CHECKING:
    from mmcl.model import TwoTower
    from mmcl.objectives.clip import CLIPObjective
    from mmcl.objectives.distillation import DistillationObjective
    from mmcl.objectives.info_nce import InfoNCEObjective
    from mmcl.objectives.objective import DataFacts
    from mmcl.objectives.siglip import SigLIPObjective


class CLIPConfig(PairObjectiveConfig, MatryoshkaConfig):
    """Symmetric InfoNCE between pictures and texts; rows of equal group are positives of each other, never negatives
    (arXiv:2103.00020, figure 3)."""

    type: Literal["clip"] = "clip"
    views: tuple[ViewName, ...] = ("image.0", "text.0")
    """The two views of a row that belong together."""
    hard_negatives: int = Field(default=0, ge=0)
    """Columns of hard negatives, ``text.2`` and on, that join the texts: each is a negative of all pictures but those
    of a group that has that very text. A row may lack them. 0 takes none."""
    memory: int = Field(default=0, ge=0)
    """Pairs of past steps that serve as further negatives; 0 keeps none."""

    @field_validator("hard_negatives")
    @classmethod
    def _stand_beside_texts(cls, value: int, info: ValidationInfo) -> int:
        views = info.data.get("views")
        if value and views is not None and (modality_of(views[0]), modality_of(views[1])) != ("image", "text"):
            raise ValueError(f"are texts beside those of views, which must be a picture and a text, got {list(views)}")
        return value

    @property
    def optional_views(self) -> tuple[str, ...]:
        return tuple(f"text.{FIRST_NEGATIVE + number}" for number in range(self.hard_negatives))

    def most_negatives(self, facts: DataFacts) -> int | None:
        num_others = (facts.batch_size - 1) * facts.num_captions
        return num_others + facts.batch_size * self.hard_negatives + self.memory

    def build(self, model: TwoTower, facts: DataFacts) -> CLIPObjective:
        from mmcl.objectives.clip import CLIPObjective

        return CLIPObjective(self, model.embedding_dim)


class SigLIPConfig(PairObjectiveConfig, MatryoshkaConfig):
    """Logistic loss on every pair of the batch, with a learnt bias; also known as the sigmoid loss. Rows of equal group
    are positives of each other (arXiv:2303.15343)."""

    type: Literal["siglip"] = "siglip"
    views: tuple[ViewName, ...] = ("image.0", "text.0")
    """The two views of a row that belong together."""
    temperature: float | None = Field(default=None, gt=0)
    """Where the model's temperature starts, whatever ``model.temperature`` says. By default it is the model's where its
    checkpoint has a bias too, else SigLIP's 0.1."""
    bias: float | None = None
    """Where the model's bias starts; by default it is the checkpoint's own, else SigLIP's -10."""
    memory: int = Field(default=0, ge=0)
    """Pairs of past steps that serve as further negatives; 0 keeps none."""

    def most_negatives(self, facts: DataFacts) -> int | None:
        return facts.batch_size - 1 + self.memory

    def build(self, model: TwoTower, facts: DataFacts) -> SigLIPObjective:
        from mmcl.objectives.siglip import SigLIPObjective

        return SigLIPObjective(self, model)


class InfoNCEConfig(PairObjectiveConfig, MatryoshkaConfig):
    """InfoNCE in one direction: each row of the first view looks for its own among the rows of the second; rows of
    equal group are positives of each other (arXiv:1807.03748)."""

    type: Literal["info_nce"] = "info_nce"
    views: tuple[ViewName, ...] = ("image.0", "text.0")
    """Queries and keys."""
    temperature: float = Field(default=0.07, gt=0)
    """Divides the similarities; fixed."""
    similarity: Literal["cosine", "dot", "neg_euclidean", "neg_sq_euclidean"] = "cosine"
    """How two embeddings are compared: as unit vectors, as they are, or by their distance or its square."""
    head: HeadConfig | None = None
    """Projection, dropped at export; null compares the model's embeddings."""
    memory: int = Field(default=0, ge=0)
    """Keys of past steps that serve as further negatives; 0 keeps none."""

    def most_negatives(self, facts: DataFacts) -> int | None:
        return facts.batch_size - 1 + self.memory

    def build(self, model: TwoTower, facts: DataFacts) -> InfoNCEObjective:
        from mmcl.objectives.info_nce import InfoNCEObjective

        return InfoNCEObjective(self, model)


class DistillationConfig(PairObjectiveConfig):
    """A frozen teacher's softmax over the rows of the batch is what the model's is to be, from pictures to texts and
    back; any rows may be alike, as far as the teacher finds them so (arXiv:2307.12732; open_clip's
    ``DistillClipLoss``)."""

    type: Literal["distillation"] = "distillation"
    views: tuple[ViewName, ...] = ("image.0", "text.0")
    """The two views of a row that are compared."""
    teacher: str | None = None
    """Hub id, local folder, run, or open_clip's ``ARCH,TAG``. null is the model itself as it was when the run began, so
    that it keeps what it knew."""
    teacher_views: tuple[ViewName, ...] | None = None
    """What the teacher sees of them; null is the same. ``[text.0, text.0]`` beside ``views: [text.0, text.1]`` teaches
    the model to give a translation the teacher's embedding of the original (arXiv:2004.09813)."""
    temperature: float | None = Field(default=None, gt=0)
    """Divides the teacher's cosines; null is the teacher's own. The model's cosines are divided by its own, which is
    learnt."""
    feature_weight: float = Field(default=0.0, ge=0)
    """Factor on the squared distances of the model's embeddings from the teacher's, which must have as many dimensions;
    0 leaves them out."""
    similarity_weight: float = Field(default=1.0, ge=0)
    """Factor on the cross-entropy with the teacher's softmax; 0 leaves it out, for embeddings alone."""

    @field_validator("teacher_views")
    @classmethod
    def _are_of_the_views(cls, value: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        views = info.data.get("views")
        if value is not None and views is not None and (len(value) != 2 or not set(value) <= set(views)):
            raise ValueError(f"must be two, each one of the views {list(views)}, got {list(value)}")
        return value

    @field_validator("similarity_weight")
    @classmethod
    def _something_is_learnt(cls, value: float, info: ValidationInfo) -> float:
        if value == 0 and info.data.get("feature_weight") == 0:
            raise ValueError("is 0, and so is feature_weight: nothing is left to learn")
        return value

    def most_negatives(self, facts: DataFacts) -> int | None:
        return None

    def build(self, model: TwoTower, facts: DataFacts) -> DistillationObjective:
        from mmcl.objectives.distillation import DistillationObjective

        return DistillationObjective(self, model)
