"""Bounds that proofs give, made a tenth too small, and tests that must notice.

A pytest plugin for processes of their own (`test_proofs.py`): the bound is replaced before a test
module imports it. `python tests/shrunk_bounds.py` lists them.
"""

import dataclasses
import functools
import importlib
import os
from typing import NamedTuple

import numpy as np
from hypothesis import Phase, settings


class Shrunk(NamedTuple):
    """What is multiplied by how much, and the test that is to fail then.

    `bound` is "module:name" or "module:Class.name"; of a dataclass that it returns, `field` alone
    is multiplied. `unless` is a check that would refuse the smaller bound, left out.
    """

    bound: str
    test: str
    factor: float = 0.9
    field: str = ""
    unless: str = ""


_SENSITIVITY, _TRAJECTORY = "skfhe.privacy.sensitivity", "skfhe.privacy.trajectory"
_NETWORK, _ACCOUNTING = "skfhe.privacy.network_sensitivity", "skfhe.privacy.accounting"

SHRUNK = {
    "1": Shrunk(
        "skfhe.approximation.polynomial:PolynomialApproximation.residual_bound",
        "test_approximation.py::test_residual_bound_is_attained",
    ),
    "1a": Shrunk(
        "skfhe.approximation.polynomial:sup_error",
        "test_approximation.py::test_facts_hold_and_are_tight",
    ),
    "2": Shrunk(
        f"{_SENSITIVITY}:contribution_bound", "test_sensitivity.py::test_no_row_exceeds_the_bound"
    ),
    "2a": Shrunk(
        f"{_SENSITIVITY}:residual_norm", "test_sensitivity.py::test_no_climb_exceeds_the_bound"
    ),
    "2b": Shrunk(
        "skfhe.privacy.statistics:sensitivity",
        "test_statistics.py::test_no_row_moves_a_statistic_beyond_its_sensitivity",
    ),
    "2c": Shrunk(
        "skfhe.privacy.statistics:sensitivity",
        "test_statistics.py::test_the_sensitivity_is_nearly_attained[curvature-0.99-replace_one]",
    ),
    "2d": Shrunk(f"{_NETWORK}:best_split", "test_network_sensitivity.py"),
    "2e": Shrunk(f"{_NETWORK}:_Units.maximum", "test_network_sensitivity.py"),
    "2f": Shrunk(
        f"{_NETWORK}:largest_contribution",
        "test_network_sensitivity.py::test_all_weights_stay_within_what_is_known_beforehand",
    ),
    "3": Shrunk(
        f"{_ACCOUNTING}:gaussian_delta",
        "test_composition.py::test_a_release_may_follow_earlier_ones_within_its_bound",
    ),
    "4": Shrunk(
        "skfhe.planning.planner:Certificate",
        "test_sensitivity.py::test_neighbours_differ_by_at_most_the_sensitivity",
        field="sensitivity",
        unless="skfhe.planning.planner:check_plan",
    ),
    "5": Shrunk(
        "skfhe.packing.rows:Layout.output_norm",
        "test_packing.py::test_output_norm_is_that_of_an_orthogonal_map",
        factor=1 / 0.9,
    ),
    "5a": Shrunk(
        f"{_ACCOUNTING}:discreteness",
        "test_accounting.py::test_discrete_releases_keep_the_continuous_guarantee",
        factor=1 / 0.9,
    ),
    "6": Shrunk(
        f"{_ACCOUNTING}:gaussian_delta",
        "test_accounting.py::test_closed_form_is_the_hockey_stick_divergence",
    ),
    "7": Shrunk(
        "skfhe.privacy.composition:Composition.cost_in_delta",
        "test_composition.py::test_failures_can_cost_their_whole_probability",
    ),
    "8": Shrunk(
        "skfhe.privacy.ledger:_largest_mu",
        "test_ledger.py::test_a_ledger_filled_to_the_brim_keeps_its_promise",
        factor=1 / 0.9,
    ),
    "9": Shrunk(
        f"{_ACCOUNTING}:gaussian_delta",
        "test_parties_table.py::test_what_is_left_of_the_noise_is_as_private_as_stated",
    ),
    "9a": Shrunk(
        "skfhe.parties:_epsilon",
        "test_parties_table.py::test_figures_are_never_better_than_composition",
    ),
    "10": Shrunk(
        "skfhe.convergence:bound",
        "test_convergence.py::test_bound_holds_against_the_worst_error",
        field="noise",
    ),
    "11": Shrunk(
        "skfhe.planning.schedule:contributions_of",
        "test_trajectory.py::test_some_row_contributes_what_its_step_is_certified_for",
    ),
    "12": Shrunk(
        f"{_TRAJECTORY}:spectral_reaches",
        "test_trajectory.py::test_some_data_reach_the_spectral_certificate",
    ),
    "13": Shrunk(
        f"{_TRAJECTORY}:energy_reaches",
        "test_trajectory.py::test_no_data_lead_beyond_the_certificate",
    ),
    "14": Shrunk(
        f"{_ACCOUNTING}:last_iterate_mu",
        "test_last_iterate.py::test_simulated_iterates_are_as_private_as_stated_and_no_more",
    ),
    "15": Shrunk(
        "skfhe.planning.levelled_bounds:refresh_kick",
        "test_segments.py::test_errors_of_refreshes_reach_points_as_is_told",
    ),
}


def multiplied(value, factor, field):
    """A bound, or every bound of several, times a factor; counts stay."""
    if field:
        return dataclasses.replace(value, **{field: getattr(value, field) * factor})
    if dataclasses.is_dataclass(value):
        return type(value)(*(multiplied(one, factor, "") for one in dataclasses.astuple(value)))
    if isinstance(value, tuple):
        return tuple(multiplied(one, factor, "") for one in value)
    return value * factor if isinstance(value, (float, np.ndarray)) else value


def replace(place, make):
    """Put what is made of something in its place; properties stay properties."""
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    old = vars(owner)[name]
    if isinstance(old, property):
        setattr(owner, name, property(make(old.fget)))
    else:
        setattr(owner, name, functools.wraps(old)(make(old)))


def pytest_configure(config):
    statement = os.environ.get("SHRUNK_BOUND")
    if not statement:
        return
    # A failure is all that is wanted, not the smallest example of it.
    settings.register_profile("shrunk", phases=[Phase.generate], database=None, deadline=None)
    settings.load_profile("shrunk")
    one = SHRUNK[statement]
    replace(one.bound, lambda old: lambda *a, **k: multiplied(old(*a, **k), one.factor, one.field))
    if one.unless:
        replace(one.unless, lambda old: lambda *a, **k: None)


if __name__ == "__main__":
    for statement, one in SHRUNK.items():
        print(f"{statement:>3}  {one.bound} {one.field} x {one.factor:.3g}: {one.test}")
