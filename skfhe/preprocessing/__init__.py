"""Transformers that learn nothing from the rows, or with a guarantee."""

from .bounds_scaler import BoundsScaler
from .row_norm_clipper import RowNormClipper
from .standard_scaler import DPStandardScaler

__all__ = ["BoundsScaler", "DPStandardScaler", "RowNormClipper"]
