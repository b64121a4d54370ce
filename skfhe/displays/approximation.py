"""The polynomial that stands for the sigmoid, and how far it is off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit

from ..approximation import PolynomialApproximation
from ..plan import TrainingPlan
from ._common import GRID, GUIDE, fitted_classifier, panels


class ApproximationDisplay:
    """A polynomial, the sigmoid, their difference, and where margins may lie.

    Use one of the class methods.

    Parameters
    ----------
    approximation : PolynomialApproximation
        The polynomial.
    intervals : sequence of float
        Radii of the intervals that margins are certified to lie in: one, or those of all steps.

    Attributes
    ----------
    axes_ : ndarray of shape (2,)
        Axes of the curves and of the error.
    figure_ : Figure
        The figure.

    Examples
    --------
    >>> from skfhe import ApproximationDisplay, EncryptedDPLogisticRegression
    >>> plan = EncryptedDPLogisticRegression().plan(n_samples=500, n_features=3)
    >>> display = ApproximationDisplay.from_plan(plan)
    """

    def __init__(self, approximation: PolynomialApproximation, intervals: Sequence[float]):
        self.approximation = approximation
        self.intervals = tuple(intervals)

    @classmethod
    def from_approximation(cls, approximation: PolynomialApproximation, *, ax=None):
        """Draw an approximation on its interval.

        Parameters
        ----------
        approximation : PolynomialApproximation
            The polynomial.
        ax : sequence of 2 Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : ApproximationDisplay
            The display, drawn.
        """
        return cls(approximation, (approximation.radius,)).plot(ax)

    @classmethod
    def from_plan(cls, plan: TrainingPlan, *, index: int = -1, ax=None):
        """Draw one of a plan's approximations.

        Parameters
        ----------
        plan : TrainingPlan
            Declares a polynomial for each of its growing intervals.
        index : int, default=-1
            Which of `plan.certificate.polynomials`; the last is for the largest margins.
        ax : sequence of 2 Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : ApproximationDisplay
            The display, drawn.

        Raises
        ------
        IndexError
            If the plan has no such polynomial.
        """
        return cls.from_approximation(_choose(plan, index), ax=ax)

    @classmethod
    def from_estimator(cls, estimator: Any, *, index: int | None = None, ax=None):
        """Draw an approximation that a fitted model was trained with.

        Parameters
        ----------
        estimator : EncryptedDPLogisticRegression or Pipeline
            Fitted.
        index : int, default=None
            Which of the plan's polynomials; by default that of the longest interval used.
        ax : sequence of 2 Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : ApproximationDisplay
            The display, drawn; its `intervals` are those of all steps.

        Raises
        ------
        TypeError
            If there is no classifier of this package.
        IndexError
            If the plan has no such polynomial.
        """
        model = fitted_classifier(estimator)
        intervals = model.history_["interval"]
        if index is None:
            radii = [p.radius for p in model.plan_.certificate.polynomials]
            index = radii.index(max(intervals))
        return cls(_choose(model.plan_, index), intervals).plot(ax)

    def plot(self, ax=None):
        """Draw.

        Parameters
        ----------
        ax : sequence of 2 Axes, default=None
            Where to draw curves and error; None makes a figure.

        Returns
        -------
        display : ApproximationDisplay
            This display.
        """
        self.axes_ = panels(self, ax, (2, 1), (6.4, 5.6), sharex=True, height_ratios=[2, 1])
        self.figure_ = self.axes_[0].figure
        p, radius = self.approximation, self.approximation.radius
        curves, error = self.axes_

        z = np.linspace(-1.15 * radius, 1.15 * radius, 1001)
        inside = np.linspace(-radius, radius, 1001)
        curves.plot(z, expit(z), color="C0", label="sigmoid")
        (line,) = curves.plot(inside, p(inside), color="C1", label=f"{p.kind}, degree {p.degree}")
        curves.plot(z, p(z), color=line.get_color(), linestyle=":", linewidth=1)
        room = 0.15 + p.max_abs - 1
        curves.set_ylim(-max(room, 0.1), 1 + max(room, 0.1))
        curves.set_ylabel("probability")

        error.plot(inside, p(inside) - expit(inside), color="C1")
        for bound in (-p.sup_error, p.sup_error):
            error.axhline(bound, **GUIDE)
        error.set_ylim(-1.35 * p.sup_error, 1.35 * p.sup_error)
        error.ticklabel_format(axis="y", scilimits=(-2, 2), useMathText=True)
        error.set_ylabel("polynomial - sigmoid")
        error.set_xlabel("margin z")
        error.set_title(f"|error| up to {p.sup_error:.2g} for |z| up to {radius:.3g}", fontsize=10)

        used = sorted(set(self.intervals))
        for axes in self.axes_:
            axes.grid(**GRID)
            axes.set_xlim(z[0], z[-1])
            for reach in used:
                axes.axvspan(-reach, reach, color="C2", alpha=0.25 / len(used) + 0.02, linewidth=0)
            for end in (-radius, radius):
                axes.axvline(end, **GUIDE)
        label = (
            "where margins lie" if len(used) == 1 else f"where margins lie, {len(used)} intervals"
        )
        curves.fill_between([], [], color="C2", alpha=0.27, linewidth=0, label=label)
        curves.legend(loc="upper left")
        return self


def _choose(plan: TrainingPlan, index: int) -> PolynomialApproximation:
    polynomials = plan.certificate.polynomials
    if not -len(polynomials) <= index < len(polynomials):
        raise IndexError(
            f"index must be one of the plan's {len(polynomials)} polynomials, got {index}."
        )
    return polynomials[index]
