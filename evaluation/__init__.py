"""Benchmarks for anything that embeds images and texts. Imports nothing of mmcl.

A task is rows of data and a protocol; ``task.evaluate(embedder)`` gives a `TaskResult`, `write_report` a page to read.
"""

from evaluation.baselines import TFIDF, BagOfWords, RawPixels
from evaluation.cached_embedder import CachedEmbedder
from evaluation.changes import Change, TradeOff, compare_results, format_changes, main_metrics
from evaluation.class_scores import ClassScores
from evaluation.comparing import compare
from evaluation.comparison import Comparison, MetricComparison, Pair, Score
from evaluation.comparison_tables import csv_table, format_comparison, latex_table, markdown_table
from evaluation.embedder import Described, Embedder, Embeddings, Picture
from evaluation.errors import EvaluationError
from evaluation.model_table import format_model_table
from evaluation.multiple_comparisons import SeedSpread, compare_over_seeds, holm, spread_over_seeds
from evaluation.predictions import read_predictions, write_predictions
from evaluation.published import Published, beside_published, format_published, read_published
from evaluation.report import write_report
from evaluation.result_folders import read_results
from evaluation.results import TaskResult
from evaluation.ridge import BagOfWordsRidge
from evaluation.statistics import Interval, PairedComparison, paired_bootstrap
from evaluation.tables import MetricRow, format_table, metric_rows
from evaluation.tasks import (
    BitextMiningTask,
    ClusteringTask,
    FewLabelTask,
    ImageCaptionSelectionTask,
    ImageRetrievalTask,
    KNNTask,
    LinearProbeTask,
    MultiLabelZeroShotTask,
    PairClassificationTask,
    RepresentationHealthTask,
    RetrievalTask,
    RobustnessTask,
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
    "ClusteringTask",
    "Comparison",
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
    "MetricComparison",
    "MetricRow",
    "MultiLabelZeroShotTask",
    "Pair",
    "PairClassificationTask",
    "PairedComparison",
    "Picture",
    "Published",
    "RawPixels",
    "RepresentationHealthTask",
    "RetrievalTask",
    "RobustnessTask",
    "STSTask",
    "Score",
    "SeedSpread",
    "Task",
    "TaskResult",
    "TextRetrievalTask",
    "TradeOff",
    "TripletAccuracyTask",
    "WinogroundTask",
    "ZeroShotClassificationTask",
    "beside_published",
    "class_name_set",
    "compare",
    "compare_over_seeds",
    "compare_results",
    "csv_table",
    "format_changes",
    "format_comparison",
    "format_model_table",
    "format_published",
    "format_table",
    "holm",
    "latex_table",
    "main_metrics",
    "markdown_table",
    "metric_rows",
    "paired_bootstrap",
    "read_predictions",
    "read_published",
    "read_results",
    "spread_over_seeds",
    "template_set",
    "write_predictions",
    "write_report",
]
