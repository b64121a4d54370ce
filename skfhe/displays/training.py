"""The course of a training run, from what it released."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..plan import TrainingPlan
from ._common import GRID, GUIDE, fitted_classifier, panels


class TrainingDisplay:
    """Noised gradient, weights, modulus and seconds of a run.

    All four are in `history_` and `plan_`: norms of released values, and nothing of the rows.

    Parameters
    ----------
    history : dict
        `history_` of a fitted model.
    plan : TrainingPlan
        Its `plan_`.

    Attributes
    ----------
    axes_ : ndarray of shape (4,)
        Axes of gradient norm, weight norm, modulus and seconds.
    figure_ : Figure
        The figure.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from skfhe import EncryptedDPLogisticRegression, TrainingDisplay
    >>> X, y = make_classification(200, 4, random_state=0)
    >>> model = EncryptedDPLogisticRegression(data_norm=4.0, backend="simulated").fit(X, y)
    >>> display = TrainingDisplay.from_estimator(model)
    """

    def __init__(self, history: dict[str, Any], plan: TrainingPlan):
        self.history = history
        self.plan = plan

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax=None):
        """Draw the run of a fitted model.

        Parameters
        ----------
        estimator : EncryptedDPLogisticRegression or Pipeline
            Fitted.
        ax : sequence of 4 Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : TrainingDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If there is no classifier of this package.
        """
        model = fitted_classifier(estimator)
        return cls(model.history_, model.plan_).plot(ax)

    @property
    def noise_norm(self) -> np.ndarray:
        """Root mean square norm of the noise alone in each step's mean gradient.

        An ndarray of shape (n_steps,), in units of the mean gradient of stored rows.
        """
        plan, problem = self.plan, self.plan.problem
        entries = problem.n_columns * (problem.hidden_units or problem.n_outputs)
        beside = (problem.hidden_units + 1) * problem.n_outputs if problem.hidden_units else 0
        spread = plan.guarantee.noise_multiplier * plan.guarantee.noise_excess
        unit = spread * plan.certificate.sensitivity / problem.n_samples
        splits = np.asarray(self.history["split"])
        norm = np.sqrt(entries * splits**2 + beside)
        return unit * norm * np.asarray(self.history["contribution"])

    def plot(self, ax=None):
        """Draw.

        Parameters
        ----------
        ax : sequence of 4 Axes, default=None
            Where to draw gradient norm, weight norm, modulus and seconds; None makes a figure.

        Returns
        -------
        display : TrainingDisplay
            This display.
        """
        self.axes_ = panels(self, ax, (2, 2), (9.6, 6.4))
        self.figure_ = self.axes_[0].figure
        for axes in self.axes_:
            axes.grid(**GRID)
            axes.set_axisbelow(True)
        gradient, weights, modulus, seconds = self.axes_
        self._gradient(gradient)
        self._weights(weights)
        self._modulus(modulus)
        self._seconds(seconds)
        return self

    def _gradient(self, axes) -> None:
        steps = np.arange(1, len(self.history["gradient_norm"]) + 1)
        axes.plot(steps, self.history["gradient_norm"], "o-", markersize=4, label="as released")
        axes.plot(steps, self.noise_norm, label="expected of noise alone", **GUIDE)
        axes.set(xlabel="step", ylabel="norm", title="Noised mean gradient", ylim=(0, None))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()

    def _weights(self, axes) -> None:
        norms = self.history["weight_norm"]
        axes.plot(np.arange(1, len(norms) + 1), norms, "o-", markersize=4, label="after the step")
        if self.plan.problem.n_outputs == 1 and not self.plan.problem.hidden_units:
            axes.axhline(self.plan.optimizer.weight_norm, label="largest allowed", **GUIDE)
        axes.set(
            xlabel="step", ylabel="norm", title="Weights, for rows of norm one", ylim=(0, None)
        )
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()

    def _modulus(self, axes) -> None:
        """Bits that are left at each level, and the special prime's beside the top level's."""
        encryption = self.plan.encryption
        *data, special = (prime.bit_length() for prime in encryption.primes)
        levels = np.arange(len(data))
        bits = np.cumsum(data)
        axes.bar(levels, bits, color="C0", label="data primes")
        axes.bar(levels[-1], special, bottom=bits[-1], color="C1", label="special prime")
        labels = [*map(str, bits[:-1]), f"{bits[-1]} + {special}"]
        tops = [*bits[:-1], bits[-1] + special]
        for level, top, label in zip(levels, tops, labels, strict=True):
            axes.annotate(
                label, (level, top), (0, 2), textcoords="offset points", ha="center", fontsize=9
            )
        axes.margins(y=0.1)
        axes.set(xlabel="level", ylabel="bits", xticks=levels, xlim=(len(data) - 0.4, -0.6))
        axes.set_title(f"Modulus, N = {encryption.poly_modulus_degree}")
        axes.legend()

    def _seconds(self, axes) -> None:
        phases = self.history["phase_seconds"]
        bars = axes.barh(list(phases), list(phases.values()), color="C0")
        axes.bar_label(bars, [f"{s:.2g} s" for s in phases.values()], padding=3, fontsize=9)
        axes.invert_yaxis()
        axes.margins(x=0.18)
        axes.set(xlabel="seconds", title="Phases")
