"""Metrics as pure functions of arrays: no models, no files, no state."""

from evaluation.metrics.classification import (
    MacroScores,
    confusion_matrix,
    macro_scores,
    mean_per_class_recall,
    top_k_accuracy,
)
from evaluation.metrics.retrieval import (
    QueryRanks,
    chance_recall_at_k,
    check_partners,
    image_text_ranks,
    rank_best_relevant,
    recall_at_k,
)
from evaluation.metrics.similarity import similarity
from evaluation.metrics.zeroshot import ClassRanks, class_weights, fill_templates, rank_labels

__all__ = [
    "ClassRanks",
    "MacroScores",
    "QueryRanks",
    "chance_recall_at_k",
    "check_partners",
    "class_weights",
    "confusion_matrix",
    "fill_templates",
    "image_text_ranks",
    "macro_scores",
    "mean_per_class_recall",
    "rank_best_relevant",
    "rank_labels",
    "recall_at_k",
    "similarity",
    "top_k_accuracy",
]
