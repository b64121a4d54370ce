"""scikit-learn estimators that train on encrypted data and release private models."""

from .approximation import PolynomialApproximation
from .crypto.parameters import CKKSParameters
from .displays import (
    ApproximationDisplay,
    PrivacyBudgetDisplay,
    TradeoffDisplay,
    TrainingDisplay,
)
from .exceptions import (
    BudgetExceeded,
    DepthExceeded,
    InfeasiblePlan,
    PlanMismatch,
    PrivacyLeakWarning,
    SeededNoiseWarning,
)
from .linear_model import EncryptedDPLogisticRegression
from .model_selection import private_scorer
from .neural_network import EncryptedDPMLPClassifier
from .plan import TrainingPlan
from .preprocessing import BoundsScaler, DPStandardScaler, RowNormClipper
from .privacy.ledger import PrivacyLedger
from .protocol.data_owner import DataOwner
from .protocol.dataset import EncryptedDataset
from .protocol.evaluator import Evaluator
from .protocol.key_holder import KeyHolder
from .reporting import privacy_report
from .schema import Schema

__version__ = "0.1.0"

__all__ = [
    "ApproximationDisplay",
    "BoundsScaler",
    "BudgetExceeded",
    "CKKSParameters",
    "DPStandardScaler",
    "DataOwner",
    "DepthExceeded",
    "EncryptedDPLogisticRegression",
    "EncryptedDPMLPClassifier",
    "EncryptedDataset",
    "Evaluator",
    "InfeasiblePlan",
    "KeyHolder",
    "PlanMismatch",
    "PolynomialApproximation",
    "PrivacyBudgetDisplay",
    "PrivacyLeakWarning",
    "PrivacyLedger",
    "RowNormClipper",
    "Schema",
    "SeededNoiseWarning",
    "TradeoffDisplay",
    "TrainingDisplay",
    "TrainingPlan",
    "privacy_report",
    "private_scorer",
]
