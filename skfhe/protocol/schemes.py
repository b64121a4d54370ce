"""The cryptographic scheme of a plan."""

from __future__ import annotations

from ..crypto.backend import Scheme
from ..crypto.parameters import Ring
from ..plan import TrainingPlan


def plan_scheme(plan: TrainingPlan, backend: str = "tenseal") -> Scheme:
    """The scheme for a plan's ring, whose security is checked again.

    Parameters
    ----------
    plan : TrainingPlan
        Names the ring.
    backend : {"tenseal", "simulated"}, default="tenseal"
        "simulated" encrypts nothing.
    """
    ring = Ring(plan.encryption.poly_modulus_degree, plan.encryption.primes)
    if backend == "simulated":
        from ..crypto.simulated import SimulatedScheme

        return SimulatedScheme(ring)
    from ..crypto.tenseal import TensealScheme

    return TensealScheme(ring)
