"""Plots in scikit-learn's Display style; they need `pip install skfhe[viz]`.

Displays draw released and public values only, so whoever has the model may have the plot.
`TradeoffDisplay` alone looks at data, which must be public.
"""

from .approximation import ApproximationDisplay
from .budget import PrivacyBudgetDisplay
from .tradeoff import TradeoffDisplay
from .training import TrainingDisplay

__all__ = [
    "ApproximationDisplay",
    "PrivacyBudgetDisplay",
    "TradeoffDisplay",
    "TrainingDisplay",
]
