"""A key holder elsewhere, with the methods of one that is here."""

from __future__ import annotations

import json

import httpx

from ..exceptions import MessageError, PlanMismatch
from ..plan import TrainingPlan
from ..protocol.outcome import RunStatus, unpack_status
from ..protocol.schemes import plan_scheme
from .access import require_token
from .endpoints import ENDPOINTS
from .limits import LARGEST_PLAN, LARGEST_STATUS, largest_answer
from .retries import retry
from .tls import FilePath, client_context, is_loopback
from .transfer import exchange


class RemoteKeyHolder:
    """Talks to a key holder's service.

    All requests can be made twice, so those that get no answer are made again for a while: the
    key holder may be starting anew. What the service refuses is raised here as the error that the
    key holder raised there.

    Parameters
    ----------
    url : str
        Of the service, ``https://host:port``. Without TLS (``http``) only on this very machine.
    plan : TrainingPlan, optional
        The plan that all parties agreed on. Without one the key holder's is taken, whatever it
        is: only for who has no plan to compare with.
    token : str, optional
        The bearer token. Secret.
    ca : path-like, optional
        PEM file with the CA of the service's certificate; by default the system's. Certificates
        are always verified.
    certificate : tuple of two path-likes, optional
        PEM files of this client's certificate and of its private key.
    timeout : float, default=60
        Seconds to wait for a connection, or for the next bytes.
    patience : float, default=300
        Seconds after which a request that found nobody is given up.

    Attributes
    ----------
    plan : TrainingPlan
        The key holder's, which is the one given.
    run : str
        Random name of the key holder's run.
    scheme : Scheme
        The encrypted backend, for an evaluator.

    Raises
    ------
    ValueError
        If the url is none of a service, or not safe; if a token or a file is none.
    PlanMismatch
        If the key holder has another plan.
    ConnectionError
        If it cannot be reached. All methods raise this.
    PermissionError
        If it does not let this client in. All methods raise this.
    MessageError
        If the answer is none of a key holder's. All methods raise this.
    """

    def __init__(
        self,
        url: str,
        plan: TrainingPlan | None = None,
        *,
        token: str | None = None,
        ca: FilePath | None = None,
        certificate: tuple[FilePath, FilePath] | None = None,
        timeout: float = 60.0,
        patience: float = 300.0,
    ):
        self._url = _checked(url)
        self._patience = patience
        # No compression: a small answer could become a large one.
        headers = {"accept-encoding": "identity"}
        if token is not None:
            require_token(token)
            headers["authorization"] = f"Bearer {token}"
        self._client = httpx.Client(
            base_url=self._url,
            headers=headers,
            verify=client_context(ca, certificate),
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,
        )
        try:
            status = self._status()
            self.run = status.run
            self.plan = self._fetched_plan() if plan is None else plan
            self._require_same(status)
            self.scheme = plan_scheme(self.plan)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RemoteKeyHolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"RemoteKeyHolder({str(self._url)!r}, plan={self.plan.digest[:12]})"

    def __reduce__(self):
        raise TypeError("a connection to a key holder does not pickle: it holds a token.")

    def close(self) -> None:
        """Close the connection. The key holder goes on."""
        self._client.close()

    def status(self) -> RunStatus:
        """Where the run stands.

        Returns
        -------
        status : RunStatus
            Public.

        Raises
        ------
        PlanMismatch
            If the service has gone over to another plan or run.
        """
        status = self._status()
        self._require_same(status)
        return status

    def public_key(self) -> bytes:
        """The encryption key, for data owners.

        Returns
        -------
        key : bytes
            The message of `skfhe.KeyHolder.public_key`.
        """
        return self._ask("public_key")

    def evaluation_keys(self) -> bytes:
        """Relinearisation and automorphism keys, for the evaluator.

        Returns
        -------
        keys : bytes
            The message of `skfhe.KeyHolder.evaluation_keys`.
        """
        return self._ask("evaluation_keys")

    def frame(self) -> bytes:
        """How rows are to be stored, for the owners' `adopt`.

        Returns
        -------
        frame : bytes
            The message of `skfhe.KeyHolder.frame`.

        Raises
        ------
        PlanMismatch
            If the moments have not been released.
        """
        return self._ask("frame")

    def prepare(self, reply: bytes) -> None:
        """Have a noised statistic released; errors as of `skfhe.KeyHolder.prepare`.

        Parameters
        ----------
        reply : bytes
            The message of `skfhe.Evaluator.aggregate`.
        """
        self._ask("prepare", reply)

    def weights(self) -> bytes:
        """Encrypted weights for the next step; the same message if asked again.

        Returns
        -------
        weights : bytes
            The message of `skfhe.KeyHolder.weights`.

        Raises
        ------
        PlanMismatch
            If all steps are done, or statistics are to be released first.
        KeyBurned
            If the run is over.
        """
        return self._ask("weights")

    def release(self, reply: bytes) -> None:
        """Have a noised gradient sum released; errors as of `skfhe.KeyHolder.release`.

        Parameters
        ----------
        reply : bytes
            The message of `skfhe.Evaluator.step`.
        """
        self._ask("release", reply)

    def outcome(self) -> bytes:
        """The released model as a message.

        Returns
        -------
        outcome : bytes
            For `skfhe.protocol.outcome.unpack_outcome`. Public.

        Raises
        ------
        PlanMismatch
            If steps are missing.
        """
        return self._ask("outcome")

    def _ask(self, name: str, body: bytes | None = None) -> bytes:
        return self._exchange(name, largest_answer(self.plan, name), body)

    def _exchange(self, name: str, largest: int, body: bytes | None = None) -> bytes:
        def attempt() -> bytes:
            return exchange(self._client, ENDPOINTS[name], body, largest)

        return retry(attempt, self._patience, f"the key holder at {self._url}")

    def _status(self) -> RunStatus:
        answer = self._exchange("status", LARGEST_STATUS)
        try:
            content = json.loads(answer)
        except (ValueError, RecursionError):
            raise MessageError(f"the key holder at {self._url} sent no status.") from None
        return unpack_status(content)

    def _fetched_plan(self) -> TrainingPlan:
        answer = self._exchange("plan", LARGEST_PLAN)
        try:
            return TrainingPlan.from_json(answer)
        except ValueError as error:
            raise MessageError(f"the key holder at {self._url} sent no plan: {error}") from None

    def _require_same(self, status: RunStatus) -> None:
        for what, found, needed in (
            ("plan", status.plan, self.plan.digest),
            ("run", status.run, self.run),
        ):
            if found != needed:
                raise PlanMismatch(
                    f"the key holder at {self._url} must have {what} {needed[:12]}, got "
                    f"{found[:12]!a}; see that all parties were given the same."
                )


def _checked(url: str) -> httpx.URL:
    """The service's address, if tokens may be sent there."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        parsed = httpx.URL("")
    if parsed.scheme not in ("https", "http") or not parsed.host:
        raise ValueError(f"url must be like https://host:port, got {url!r}.")
    if parsed.userinfo or parsed.query or parsed.fragment:
        # It is not shown: there may be a password in it.
        raise ValueError(
            "url must name a host, a port and perhaps a path, got a user, a query or a fragment "
            "as well; give the token as token."
        )
    if parsed.scheme == "http" and not is_loopback(parsed.host):
        raise ValueError(
            f"url must begin with https:// unless the service is on this machine, got {url!r}."
        )
    return parsed
