"""Embedding a whole data set into a parquet file of ids and unit vectors."""

from mmcl.vectors.embed import EmbedReport, embed_rows
from mmcl.vectors.stored import Dtype

__all__ = ["Dtype", "EmbedReport", "embed_rows"]
