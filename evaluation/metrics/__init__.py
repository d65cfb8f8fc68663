"""Metrics as pure functions of arrays: no models, no files, no state."""

from evaluation.metrics.bitext import Translations, nearest_translations, weighted_f1
from evaluation.metrics.classification import (
    MacroScores,
    confusion_matrix,
    macro_scores,
    mean_per_class_recall,
    top_k_accuracy,
)
from evaluation.metrics.clustering import ClusterScores, cluster_scores, kmeans_clusters
from evaluation.metrics.correlation import pearson, spearman
from evaluation.metrics.few_label import few_label_predictions, few_label_rows
from evaluation.metrics.health import alignment, effective_rank, modality_gap, spread, uniformity
from evaluation.metrics.knn import knn_predictions
from evaluation.metrics.linear_probe import LinearProbe, linear_probe, validation_split
from evaluation.metrics.multi_label import (
    average_precisions,
    expected_average_precision,
    mean_average_precision,
    top_k_labels,
)
from evaluation.metrics.pair_classification import BestCut, average_precision, best_accuracy, best_f1
from evaluation.metrics.ranking import (
    RankedGrades,
    map_at_k,
    mrr_at_k,
    ndcg_at_k,
    rank_grades,
    relevant_recall_at_k,
)
from evaluation.metrics.retrieval import (
    QueryRanks,
    chance_recall_at_k,
    check_partners,
    image_text_ranks,
    rank_best_own,
    rank_best_relevant,
    recall_at_k,
)
from evaluation.metrics.similarity import paired_cosines, similarity
from evaluation.metrics.zeroshot import ClassRanks, class_weights, fill_templates, rank_labels

__all__ = [
    "BestCut",
    "ClassRanks",
    "ClusterScores",
    "LinearProbe",
    "MacroScores",
    "QueryRanks",
    "RankedGrades",
    "Translations",
    "alignment",
    "average_precision",
    "average_precisions",
    "best_accuracy",
    "best_f1",
    "chance_recall_at_k",
    "check_partners",
    "class_weights",
    "cluster_scores",
    "confusion_matrix",
    "effective_rank",
    "expected_average_precision",
    "few_label_predictions",
    "few_label_rows",
    "fill_templates",
    "image_text_ranks",
    "kmeans_clusters",
    "knn_predictions",
    "linear_probe",
    "macro_scores",
    "map_at_k",
    "mean_average_precision",
    "mean_per_class_recall",
    "modality_gap",
    "mrr_at_k",
    "ndcg_at_k",
    "nearest_translations",
    "paired_cosines",
    "pearson",
    "rank_best_own",
    "rank_best_relevant",
    "rank_grades",
    "rank_labels",
    "recall_at_k",
    "relevant_recall_at_k",
    "similarity",
    "spearman",
    "spread",
    "top_k_accuracy",
    "top_k_labels",
    "uniformity",
    "validation_split",
    "weighted_f1",
]
