"""The cryptographic scheme of a plan."""

from __future__ import annotations

from ..crypto.backend import Scheme
from ..exceptions import PlanMismatch
from ..plan import TrainingPlan
from ..planning.rings import ring_of


def plan_scheme(plan: TrainingPlan, backend: str | None = None) -> Scheme:
    """The scheme for a plan's ring, whose security is checked again.

    Parameters
    ----------
    plan : TrainingPlan
        Names the ring.
    backend : {"tenseal", "simulated", "openfhe"}, optional
        "simulated" encrypts nothing. By default "openfhe" where ciphertexts are refreshed, which
        no other can, and "tenseal" elsewhere, which openfhe is no match for.

    Returns
    -------
    scheme : Scheme
        For `skfhe.KeyHolder` and the others; it holds no key.

    Raises
    ------
    PlanMismatch
        If the plan is not one for that backend.
    """
    ring = ring_of(plan.encryption)
    able = "tenseal" if ring.refreshing is None else "openfhe"
    backend = backend or able
    if backend == "simulated":
        from ..crypto.simulated import SimulatedScheme

        return SimulatedScheme(ring)
    if backend != able:
        raise PlanMismatch(f"this plan is one for backend={able!r}, got {backend!r}.")
    if backend == "openfhe":
        from ..crypto.openfhe import OpenFHEScheme

        return OpenFHEScheme(ring)
    from ..crypto.tenseal import TensealScheme

    return TensealScheme(ring)
