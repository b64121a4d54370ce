"""What the key holder makes of releases: frame, preconditioner and steps, in the clear.

All of it is post-processing of released values, and a function of them alone: from the same
values in the same order comes the same course.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ..exceptions import PlanMismatch
from ..plan import TrainingPlan
from ..privacy.frame import Frame
from .models import Certified, model_of
from .models.base import Optimizer
from .preparation import fitted_frame, plain_frame


@dataclass(frozen=True)
class StepRecord:
    """What a step may tell: functions of released values and of the plan alone.

    Attributes
    ----------
    gradient_norm : float
        Norm of the noised mean gradient, or of what a round of several steps moves weights by.
    weight_norm : float
        Norm of the weights (for rows of norm one) after the step.
    interval : float
        Radius of the approximation used.
    contribution : float
        S: the bound on one row's contribution that was used.
    split : float
        What the hidden layer's gradient was divided by in addition; 1 for the linear model.
    """

    gradient_norm: float
    weight_norm: float
    interval: float
    contribution: float
    split: float


class Course:
    """Where a run stands after the releases so far.

    Parameters
    ----------
    plan : TrainingPlan
        Says what is released, and what is made of it.

    Attributes
    ----------
    model : Model
        The plan's.
    unprepared : list of str
        Statistics that are still to be released, in order.
    frame : Frame or None
        How rows are stored; None before the moments are released.
    optimizer : Optimizer or None
        What takes steps; None before all statistics are released.
    step : int
        Steps taken.
    records : list of StepRecord
        One per step.
    """

    def __init__(self, plan: TrainingPlan):
        self._plan = plan
        self.model = model_of(plan)
        self.unprepared = [*plan.preparation.statistics]
        self.frame: Frame | None = None if plan.preparation.moments else plain_frame(plan)
        self.optimizer: Optimizer | None = None
        self.step = 0
        self.records: list[StepRecord] = []
        if not self.unprepared:
            self.optimizer = self.model.optimizer(self.frame, None)

    @property
    def done(self) -> bool:
        """Whether every step has been taken."""
        return self.step == self._plan.visits

    def take(self, name: str | int, coefficients: NDArray, certified: Certified | None) -> None:
        """Go on with a release.

        Parameters
        ----------
        name : str or int
            The statistic, the next of the plan; or the step.
        coefficients : ndarray
            What was decrypted, in integer units.
        certified : Certified or None
            A step's.
        """
        if isinstance(name, str):
            self._prepare(name, coefficients)
        else:
            sums = self.model.sums(coefficients / self.model.release.scale, certified)
            self._advance(sums, certified)

    def _prepare(self, name: str, coefficients: NDArray) -> None:
        sums = coefficients[: self._plan.preparation.statistics[name].length]
        self.unprepared.remove(name)
        if name == "moments":
            self.frame = fitted_frame(self._plan, sums)
        if not self.unprepared:
            curvature = sums if name == "curvature" else None
            self.optimizer = self.model.optimizer(self.frame, curvature)

    def _advance(self, gradient_sum: Any, certified: Certified) -> None:
        self.optimizer.update(gradient_sum)
        self.records.append(
            StepRecord(
                gradient_norm=self.model.mean_norm(gradient_sum),
                weight_norm=self.model.norm(self.optimizer.point),
                interval=certified.interval,
                contribution=certified.contribution,
                split=certified.split,
            )
        )
        self.step += 1

    def result(self) -> Any:
        """The model to release, after the last step."""
        if not self.done:
            raise PlanMismatch(
                f"the model is released after all {self._plan.visits} steps, {self.step} are done."
            )
        return self.model.released(self.frame, self.optimizer.result())
