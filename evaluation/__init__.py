"""Benchmarks for anything that embeds images and texts. Imports nothing of mmcl.

A task is rows of data and a protocol; ``task.evaluate(embedder)`` gives a `TaskResult`, `write_report` a page to read.
"""

from evaluation.baselines import TFIDF, BagOfWords, RawPixels
from evaluation.cached_embedder import CachedEmbedder
from evaluation.changes import Change, TradeOff, compare_results, format_changes, main_metrics
from evaluation.class_scores import ClassScores
from evaluation.embedder import Described, Embedder, Embeddings, Picture
from evaluation.errors import EvaluationError
from evaluation.model_table import format_model_table
from evaluation.multiple_comparisons import SeedSpread, compare_over_seeds, holm, spread_over_seeds
from evaluation.predictions import read_predictions, write_predictions
from evaluation.report import write_report
from evaluation.results import TaskResult
from evaluation.ridge import BagOfWordsRidge
from evaluation.statistics import Interval, PairedComparison, paired_bootstrap
from evaluation.tables import MetricRow, format_table, metric_rows
from evaluation.tasks import (
    BitextMiningTask,
    FewLabelTask,
    ImageCaptionSelectionTask,
    ImageRetrievalTask,
    KNNTask,
    LinearProbeTask,
    MultiLabelZeroShotTask,
    PairClassificationTask,
    RetrievalTask,
    STSTask,
    Task,
    TextRetrievalTask,
    TripletAccuracyTask,
    WinogroundTask,
    ZeroShotClassificationTask,
)
from evaluation.templates import class_name_set, template_set

__all__ = [
    "TFIDF",
    "BagOfWords",
    "BagOfWordsRidge",
    "BitextMiningTask",
    "CachedEmbedder",
    "Change",
    "ClassScores",
    "Described",
    "Embedder",
    "Embeddings",
    "EvaluationError",
    "FewLabelTask",
    "ImageCaptionSelectionTask",
    "ImageRetrievalTask",
    "Interval",
    "KNNTask",
    "LinearProbeTask",
    "MetricRow",
    "MultiLabelZeroShotTask",
    "PairClassificationTask",
    "PairedComparison",
    "Picture",
    "RawPixels",
    "RetrievalTask",
    "STSTask",
    "SeedSpread",
    "Task",
    "TaskResult",
    "TextRetrievalTask",
    "TradeOff",
    "TripletAccuracyTask",
    "WinogroundTask",
    "ZeroShotClassificationTask",
    "class_name_set",
    "compare_over_seeds",
    "compare_results",
    "format_changes",
    "format_model_table",
    "format_table",
    "holm",
    "main_metrics",
    "metric_rows",
    "paired_bootstrap",
    "read_predictions",
    "spread_over_seeds",
    "template_set",
    "write_predictions",
    "write_report",
]
