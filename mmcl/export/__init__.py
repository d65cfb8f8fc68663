"""Writing a model so that transformers, sentence-transformers or open_clip open it without this package."""

from mmcl.export.card import ModelCardFacts, Score, hub_ids
from mmcl.export.export import ExportReport, check_is_new, export_model, export_to_open_clip
from mmcl.export.verify import MIN_COSINE, FormCheck, verify_export

__all__ = [
    "MIN_COSINE",
    "ExportReport",
    "FormCheck",
    "ModelCardFacts",
    "Score",
    "check_is_new",
    "export_model",
    "export_to_open_clip",
    "hub_ids",
    "verify_export",
]
