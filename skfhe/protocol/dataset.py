"""Encrypted data sets: what a data owner sends to the evaluator once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EncryptedDataset:
    """Encrypted rows and labels, as messages.

    Attributes
    ----------
    plan_digest : str
        The plan that the rows were encrypted for.
    n_samples : int
        Number of rows; public, as n is.
    chunks : tuple of bytes
        One message per chunk of rows: a ciphertext per group of columns, then the labels.
    noise : tuple of tuple of bytes
        For every owner, its encrypted noise share of every step, for one run.
    curvature : tuple of bytes
        For every owner, its noised share of the second moments; empty if the plan has none.
    """

    plan_digest: str
    n_samples: int
    chunks: tuple[bytes, ...]
    noise: tuple[tuple[bytes, ...], ...]
    curvature: tuple[bytes, ...] = ()

    @property
    def n_bytes(self) -> int:
        """Size of the encrypted rows."""
        return sum(map(len, self.chunks))

    def noise_of(self, step: int) -> list[bytes]:
        """Every owner's noise share of one step."""
        return [shares[step] for shares in self.noise]

    @classmethod
    def concat(cls, *parts: EncryptedDataset) -> EncryptedDataset:
        """One data set from the parts of several owners under one plan, owner 0 first."""
        digests = {part.plan_digest for part in parts}
        if len(digests) != 1:
            raise ValueError(
                f"parts must be encrypted for one plan, got {len(digests)} different plans."
            )
        chunks = tuple(chunk for part in parts for chunk in part.chunks)
        noise = tuple(shares for part in parts for shares in part.noise)
        curvature = tuple(share for part in parts for share in part.curvature)
        n_samples = sum(part.n_samples for part in parts)
        return cls(digests.pop(), n_samples, chunks, noise, curvature)

    def __repr__(self) -> str:
        return (
            f"EncryptedDataset(plan={self.plan_digest[:12]}, n_samples={self.n_samples}, "
            f"chunks={len(self.chunks)}, bytes={self.n_bytes})"
        )
