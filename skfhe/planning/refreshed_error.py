"""What one refresh errs by at most, which decides what another one of the error can do."""

from __future__ import annotations

from ..crypto import errors
from ..crypto.parameters import Ring
from .schedule import REFRESHED_SHARE


def largest_error(ring: Ring) -> float:
    """What a refresh of a message within its share errs by at most, in integer units.

    Eight standard deviations are exceeded with probability below 2^-49 per coefficient.
    """
    distorted = REFRESHED_SHARE * ring.primes[0] * errors.refresh_distortion(REFRESHED_SHARE)
    return distorted + 8 * errors.refresh_error(ring)
