"""The names that the guides may use: the recipe's keys and values, and those of data, metrics and the like."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

from mmcl import recipe_tasks as tasks
from mmcl.objectives import configs as objectives
from mmcl.objectives.configs.base import HeadConfig
from mmcl.recipe import Recipe
from mmcl.recipe_data import (
    AffineConfig,
    ColumnsConfig,
    DataConfig,
    ImageViewConfig,
    MixedSourceConfig,
    PromptsConfig,
    SourceConfig,
)
from mmcl.recipe_model import ImageTowerConfig, ModelConfig, TextTowerConfig
from mmcl.recipe_tuning import LoRAConfig, TuningConfig
from mmcl.schedules import MomentumSchedule, WeightSchedule
from mmcl.study_config import StudyConfig

REFERENCE = {
    "Recipe": Recipe,
    "Model": ModelConfig,
    "Image tower": ImageTowerConfig,
    "Text tower": TextTowerConfig,
    "Tuning": TuningConfig,
    "LoRA": LoRAConfig,
    "Data": DataConfig,
    "Source": SourceConfig,
    "Mixed source": MixedSourceConfig,
    "Columns": ColumnsConfig,
    "Prompts": PromptsConfig,
    "Image view": ImageViewConfig,
    "Affine": AffineConfig,
    "CLIP objective": objectives.CLIPConfig,
    "SigLIP objective": objectives.SigLIPConfig,
    "InfoNCE objective": objectives.InfoNCEConfig,
    "Distillation objective": objectives.DistillationConfig,
    "SimCLR objective": objectives.SimCLRConfig,
    "SimCSE objective": objectives.SimCSEConfig,
    "Supervised SimCSE objective": objectives.SupervisedSimCSEConfig,
    "N-pair objective": objectives.NPairConfig,
    "CoSENT objective": objectives.CoSENTConfig,
    "SupCon objective": objectives.SupConConfig,
    "Cross-entropy objective": objectives.CrossEntropyConfig,
    "Triplet objective": objectives.TripletConfig,
    "Margin objective": objectives.MarginConfig,
    "MoCo objective": objectives.MoCoConfig,
    "MoCo v3 objective": objectives.MoCoV3Config,
    "BYOL objective": objectives.BYOLConfig,
    "Memory bank objective": objectives.MemoryBankConfig,
    "SwAV objective": objectives.SwAVConfig,
    "Barlow Twins objective": objectives.BarlowTwinsConfig,
    "Skip-gram objective": objectives.SkipGramConfig,
    "MLM objective": objectives.MLMConfig,
    "Head": HeadConfig,
    "Weight schedule": WeightSchedule,
    "Momentum schedule": MomentumSchedule,
    "Retrieval task": tasks.RetrievalConfig,
    "Zero-shot classification task": tasks.ZeroShotClassificationConfig,
    "kNN task": tasks.KNNConfig,
    "Linear probe task": tasks.LinearProbeConfig,
    "Few-label task": tasks.FewLabelConfig,
    "STS task": tasks.STSConfig,
    "Pair classification task": tasks.PairClassificationConfig,
    "Text retrieval task": tasks.TextRetrievalConfig,
    "Bitext mining task": tasks.BitextMiningConfig,
    "Triplet accuracy task": tasks.TripletAccuracyConfig,
    "Multi-label zero-shot classification task": tasks.MultiLabelZeroShotConfig,
    "Image retrieval task": tasks.ImageRetrievalConfig,
    "Representation health task": tasks.RepresentationHealthConfig,
    "Image-caption selection task": tasks.ImageCaptionSelectionConfig,
    "Robustness task": tasks.RobustnessConfig,
    "Study": StudyConfig,
    "Clustering task": tasks.ClusteringConfig,
}


def values_in(annotation: Any) -> Iterator[Any]:
    """Yield what a field that takes one of a few words may be."""
    for part in typing.get_args(annotation):
        yield from (part,) if typing.get_origin(annotation) is typing.Literal else values_in(part)


FIELDS = [(name, field) for section in REFERENCE.values() for name, field in section.model_fields.items()]
ALL_KEYS = {"base", "model_type"} | {name for name, _ in FIELDS}
ALL_VALUES = {value for _, field in FIELDS for value in values_in(field.annotation)}
OTHER_NAMES = {
    # columns of the data in examples, what a log line or a result holds, and splits and folders
    *("file_name", "image_path", "product_id", "grad_norm", "logit_scale", "samples_per_second", "data_wait"),
    *("acc1", "acc5", "mean_per_class_recall", "macro_precision", "macro_recall", "macro_f1"),
    *("mean_average_precision", "per_class", "recall_interval", "average_precision"),
    *("v_measure", "adjusted_rand_index", "clustering_accuracy"),
    *("image_retrieval_median_rank", "image_retrieval_mean_rank", "image_retrieval_ties", "text_retrieval_ties"),
    *("image_id", "text_id"),
    *("unseen_characters", "unseen_face", "open_clip", "zeroshot_classification", "hidden_act", "model_cfg"),
    *("cosine_spearman", "cosine_pearson", "cosine_ap", "cosine_accuracy", "cosine_f1"),
    *("reverse_f1", "reverse_accuracy"),
    *("cosine_accuracy_threshold", "cosine_f1_threshold", "ndcg_at_10", "mrr_at_10", "map_at_10", "reverse_ties"),
    *("recall_at_1", "recall_at_5", "recall_at_10"),
    *("text_acc", "image_acc", "mean_per_subset_acc", "mean_corruption_acc1", "relative_drop", "modality_gap"),
    *("image_uniformity", "image_spread", "image_effective_rank"),
    *("text_uniformity", "text_spread", "text_effective_rank", "swap_obj", "add_att"),
    # normalisations of a tokenizer
    *("nmt_nfkc", "nmt_nfkc_cf"),
    *("cls_before_pooler",),
    # inputs of an exported graph, and the functions that lie beside it
    *("pixel_values", "input_ids", "attention_mask", "embed_images", "embed_texts"),
}
