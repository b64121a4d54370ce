"""What users give the estimators, made plain: contexts, classes, weights; and whether it fits."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .crypto.parameters import CKKSParameters
from .exceptions import InfeasiblePlan
from .plan import TrainingPlan


def resolve_context(context) -> CKKSParameters | None:
    """Parameters out of what the user gave; never a key.

    Raises
    ------
    TypeError
        If the value is neither "auto" nor parameters nor a TenSEAL context.
    """
    if isinstance(context, str) and context == "auto":
        return None
    if isinstance(context, CKKSParameters):
        context._validate_params()
        return CKKSParameters(
            int(context.poly_modulus_degree),
            tuple(np.asarray(context.coeff_mod_bit_sizes).tolist()),
            int(context.scale_bits),
        )
    from .crypto.tenseal import context_parameters, is_context

    if is_context(context):
        return context_parameters(context)
    raise TypeError(
        "context must be 'auto', a CKKSParameters or a tenseal.Context, "
        f"got {type(context).__name__}."
    )


def count_classes(classes) -> int:
    """Number of classes from a count or a list of labels."""
    if isinstance(classes, Integral):
        return int(classes)
    return len(np.unique(np.asarray(classes)))


def encoded(y: ArrayLike, public: ArrayLike | None, name: str) -> tuple[NDArray, NDArray]:
    """Classes, and the index of every label among them.

    Raises
    ------
    ValueError
        If there are fewer than two classes, or labels that the public ones lack; ``name`` is the
        estimator's, for the message.
    """
    classes, targets = np.unique(y, return_inverse=True)
    if public is None:
        if len(classes) < 2:
            raise ValueError(
                f"{name} needs at least 2 classes in the data, but the data contains only one "
                f"class: {classes[0]!r}. If others are possible, name all with the classes "
                "parameter."
            )
        return classes, targets
    public = np.unique(np.asarray(public))
    if len(public) < 2:
        raise ValueError(f"classes must name at least 2 different labels, got {public!r}.")
    if not np.isin(classes, public).all():
        raise ValueError(
            f"labels must be among the public classes {public!r}; some are not. Name all that "
            "are possible."
        )
    return public, np.searchsorted(public, np.asarray(y))


def plan_labels(plan: TrainingPlan, classes: ArrayLike | None) -> NDArray:
    """The labels of a plan's classes: those given, its schema's, or 0 to K - 1.

    Raises
    ------
    ValueError
        If they are not as many as the plan has classes.
    """
    if classes is None:
        schema = plan.schema
        classes = np.arange(plan.problem.n_classes) if schema is None else schema.classes
    labels = np.asarray(classes)
    if labels.shape != (plan.problem.n_classes,):
        raise ValueError(
            f"classes must be the plan's {plan.problem.n_classes} labels, got {labels!r}."
        )
    return labels


def class_weights(class_weight, classes) -> tuple[float, ...]:
    """A weight for every class in their order; empty if none are given.

    Raises
    ------
    ValueError
        If weights would be taken from the data, or are out of range, or name unknown classes.
    """
    if class_weight is None:
        return ()
    if isinstance(class_weight, str):
        raise ValueError(
            f"class_weight={class_weight!r} would count the labels, and no guarantee covers the "
            "counts; give a dict of public weights, such as {0: 1.0, 1: 4.0}, or None."
        )
    count = isinstance(classes, Integral)
    labels = list(range(int(classes))) if count else np.unique(np.asarray(classes)).tolist()
    unknown = [label for label in class_weight if label not in labels]
    weights = tuple(float(class_weight.get(label, 1.0)) for label in labels)
    if unknown:
        raise ValueError(f"class_weight must name classes among {labels}, got also {unknown}.")
    if not all(0 <= weight < np.inf for weight in weights) or not any(weights):
        raise ValueError(
            "class_weight must have finite weights, none negative and not all zero, got "
            f"{weights}."
        )
    return weights


def require_memory(plan: TrainingPlan) -> None:
    """Refuse what would not fit the machine, before any ciphertext exists."""
    available = _available_bytes()
    needed = plan.prediction.memory_bytes
    if available is not None and needed > available:
        raise InfeasiblePlan(
            f"encrypted training on {plan.problem.n_samples} rows needs about "
            f"{needed / 1e9:.1f} GB of memory, {available / 1e9:.1f} GB are available; use "
            "fewer rows or columns, a lower degree, or a larger machine."
        )


def _available_bytes() -> int | None:
    """Memory that the system could give to this process; None where it does not say."""
    try:
        with open("/proc/meminfo") as lines:
            fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
