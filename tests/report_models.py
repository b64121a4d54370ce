"""Models whose report several tests look at."""

from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

from skfhe import DPStandardScaler, EncryptedDPLogisticRegression, RowNormClipper, privacy_report

N, D = 120, 3
FOLDS = KFold(3, shuffle=True, random_state=0)


def estimator(epsilon=0.5, ledger=None, **parameters):
    return EncryptedDPLogisticRegression(
        epsilon, ledger=ledger,
        **{"degree": 3, "max_iter": 2, "data_norm": 1.5, "backend": "simulated", "classes": [0, 1],
           **parameters},
    )  # fmt: skip


def pipeline(ledger):
    return make_pipeline(
        DPStandardScaler(0.2, ledger=ledger), RowNormClipper(1.5), estimator(ledger=ledger)
    )


def page(model):
    """The report's text on one line."""
    return " ".join(str(privacy_report(model, N, D)).split())
