"""Who may call what: bearer tokens, of which only digests are kept."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Iterable

from .endpoints import CERTIFICATE, EVALUATOR, OWNER

SHORTEST_TOKEN = 32
# What a bearer token may be made of (RFC 6750, section 2.1).
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class Access:
    """Knows callers by their bearer tokens.

    Parameters
    ----------
    evaluator : iterable of str, default=()
        Tokens for evaluation keys, weights, statistics and releases. Secret; only their SHA-256
        is kept.
    owner : iterable of str, default=()
        Tokens for the public key and the frame. Secret, too. Both roles may ask for plan, status
        and model.

    Raises
    ------
    ValueError
        If there is no token, or one is too short, has characters that no bearer token has, or is
        given for both roles. The message does not contain it.

    See Also
    --------
    Access.by_certificate : Where client certificates stand in for tokens.
    """

    def __init__(self, evaluator: Iterable[str] = (), owner: Iterable[str] = ()):
        self._digests: dict[bytes, str] = {}
        for role, tokens in ((EVALUATOR, evaluator), (OWNER, owner)):
            for token in tokens:
                self._add(role, token)
        if not self._digests:
            raise ValueError(
                "at least one token is needed, got none; give tokens, or use "
                "Access.by_certificate() where every caller has a client certificate."
            )

    @classmethod
    def by_certificate(cls) -> Access:
        """Whoever has a certificate of the clients' CA may call everything.

        Returns
        -------
        access : Access
            Without tokens.
        """
        access = cls.__new__(cls)
        access._digests = {}
        return access

    @classmethod
    def from_files(
        cls,
        evaluator: str | os.PathLike[str] | None = None,
        owner: str | os.PathLike[str] | None = None,
    ) -> Access:
        """Tokens from files, one a line; empty lines and lines that begin with # do not count.

        Parameters
        ----------
        evaluator, owner : path-like, optional
            Files of each role's tokens, which nobody but their owner and, to read, its group may
            use.

        Returns
        -------
        access : Access
            With their digests.

        Raises
        ------
        ValueError
            If a file can be read by every user of the machine or written by its group, or a line
            is no token.
        OSError
            If a file cannot be read.
        """
        return cls(
            () if evaluator is None else _tokens(evaluator),
            () if owner is None else _tokens(owner),
        )

    def __repr__(self) -> str:
        counts = [f"{role}={[*self._digests.values()].count(role)}" for role in (EVALUATOR, OWNER)]
        return "Access.by_certificate()" if self.certificates else f"Access({', '.join(counts)})"

    def __reduce__(self):
        raise TypeError("access rules do not pickle: they hold digests of tokens.")

    @property
    def certificates(self) -> bool:
        """Whether client certificates stand in for tokens."""
        return not self._digests

    def role(self, authorization: str | None) -> str | None:
        """The role behind an Authorization header; None for a stranger.

        Parameters
        ----------
        authorization : str or None
            The header. Secret.

        Returns
        -------
        role : str or None
            "evaluator", "owner", or what stands for a certificate.
        """
        if self.certificates:
            return CERTIFICATE
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        digest, role = _digest(token.strip()), None
        # All of them, so that time does not tell how far the search came.
        for known, its_role in self._digests.items():
            if hmac.compare_digest(known, digest):
                role = its_role
        return role

    def _add(self, role: str, token: str) -> None:
        require_token(token)
        if self._digests.setdefault(_digest(token), role) != role:
            raise ValueError("one token is given for both roles; give every party its own.")


def require_token(token: str) -> None:
    """Refuse what cannot be a token, without showing it."""
    if len(token) < SHORTEST_TOKEN or not _TOKEN.fullmatch(token):
        raise ValueError(
            f"a token must have at least {SHORTEST_TOKEN} characters out of letters, digits and "
            f"-._~+/ (with = at its end), got one of {len(token)} characters; make one with "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))'."
        )


def _tokens(path: str | os.PathLike[str]) -> list[str]:
    with open(path, encoding="ascii", errors="replace") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        # A group may read it: that is how systemd and Kubernetes hand secrets to a service.
        if mode & 0o027:
            raise ValueError(
                f"{os.fspath(path)} must be for its owner's eyes only, got mode {mode:04o}; use "
                "chmod 600."
            )
        lines = [line.strip() for line in file]
    tokens = []
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        try:
            require_token(line)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}, line {number}: {error}") from None
        tokens.append(line)
    if not tokens:
        raise ValueError(f"{os.fspath(path)} must hold a token a line, got none.")
    return tokens


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
