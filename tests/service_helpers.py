"""What tests of the service share: certificates, a running service, and the parties about it."""

import datetime
import io
import ipaddress
import json
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from helpers import make, make_rows, scheme_of

from skfhe import DataOwner, Evaluator, KeyHolder
from skfhe.service import Access, RemoteKeyHolder
from skfhe.service.logs import json_logs
from skfhe.service.server import make_server

EVALUATOR = "evaluator-token-" + "e" * 32
OWNER = "owner-token-" + "o" * 32
ACCESS = Access(evaluator=[EVALUATOR], owner=[OWNER])
BYTES = {"content-type": "application/octet-stream"}


def bearer(token):
    return {"authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class Authority:
    """A CA, and a certificate for 127.0.0.1 and one for a client, in PEM files."""

    ca: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]

    @classmethod
    def make(cls, folder):
        folder.mkdir(exist_ok=True)
        key, name = ec.generate_private_key(ec.SECP256R1()), _name(f"CA {folder.name}")
        ca = _certificate(name, key, name, key, x509.BasicConstraints(ca=True, path_length=0))
        (folder / "ca.pem").write_bytes(_pem(ca))
        issued = {}
        for who, usage in (
            ("server", ExtendedKeyUsageOID.SERVER_AUTH),
            ("client", ExtendedKeyUsageOID.CLIENT_AUTH),
        ):
            own = ec.generate_private_key(ec.SECP256R1())
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            certificate = _certificate(
                _name(who),
                own,
                name,
                key,
                x509.BasicConstraints(ca=False, path_length=None),
                x509.ExtendedKeyUsage([usage]),
                x509.SubjectAlternativeName([address]),
            )
            issued[who] = folder / f"{who}.pem", folder / f"{who}.key"
            issued[who][0].write_bytes(_pem(certificate))
            issued[who][1].write_bytes(_key_pem(own))
        return cls(folder / "ca.pem", **issued)

    def context(self, client=None):
        """For a client that trusts this CA."""
        context = ssl.create_default_context(cafile=self.ca)
        if client:
            context.load_cert_chain(*client)
        return context


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(subject, key, issuer, issuer_key, *extensions):
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    known = (
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
    )
    for extension in (*extensions, *known):
        critical = isinstance(extension, x509.BasicConstraints)
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@dataclass
class Service:
    """A running service, and what it has logged."""

    server: uvicorn.Server
    thread: threading.Thread
    port: int
    authority: Authority | None
    logs: io.StringIO

    @property
    def url(self):
        return f"http{'s' if self.authority else ''}://127.0.0.1:{self.port}"

    def http(self, token=EVALUATOR, client=None):
        """A plain HTTP client, with a token or without."""
        return httpx.Client(
            base_url=self.url,
            verify=self.authority.context(client) if self.authority else True,
            headers=bearer(token) if token else {},
            trust_env=False,
        )

    def remote(self, plan=None, token=EVALUATOR, **parameters):
        """The package's own client."""
        parameters = {"patience": 5.0, "timeout": 10.0, **parameters}
        ca = self.authority.ca if self.authority else None
        return RemoteKeyHolder(self.url, plan, token=token, ca=ca, **parameters)

    def connect(self):
        """A socket that has sent nothing yet."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        if self.authority is None:
            return connection
        return self.authority.context().wrap_socket(connection, server_hostname="127.0.0.1")

    def stop(self):
        self.server.should_exit = True
        self.thread.join(timeout=20)
        assert not self.thread.is_alive()

    def events(self):
        return [json.loads(line) for line in self.logs.getvalue().splitlines()]


@contextmanager
def serving(key_holder, authority=None, access=ACCESS, limits=None, client_ca=None, port=0):
    """A service in a thread of this process, on 127.0.0.1."""
    certificate, key = authority.server if authority else (None, None)
    with json_logs(logs := io.StringIO()):
        server = make_server(
            key_holder,
            access,
            host="127.0.0.1",
            certificate=certificate,
            private_key=key,
            client_ca=client_ca,
            limits=limits,
        )
        listener = socket.create_server(("127.0.0.1", port))
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        service = Service(server, thread, port, authority, logs)
        wait_until(lambda: server.started)
        try:
            yield service
        finally:
            service.stop()


def free_port():
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def read_all(connection):
    """What a connection answers until it ends."""
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except (ConnectionResetError, ssl.SSLError):
        pass
    return data


def shared_plan(**parameters):
    """A plan for owners who know the public key alone."""
    return make(**{"n_owners": 2, **parameters})


def holder(plan=None, backend="simulated"):
    plan = plan or shared_plan()
    return KeyHolder(plan, scheme_of(plan, backend))


class Wrapped:
    """A key holder, some of whose methods are others."""

    def __init__(self, key_holder, **methods):
        self._key_holder = key_holder
        self.__dict__.update(methods)

    def __getattr__(self, name):
        return getattr(self._key_holder, name)


class Side:
    """An evaluator and owners who know the key holder through its messages alone."""

    def __init__(self, key_holder, scheme, public_key):
        self.key_holder = key_holder
        self.plan = plan = key_holder.plan
        self.evaluator = Evaluator(plan, key_holder.evaluation_keys(), scheme)
        owners = range(plan.guarantee.n_owners)
        self.owners = [DataOwner.with_public_key(plan, public_key, i, scheme) for i in owners]
        self.X, self.targets = make_rows(plan)

    def prepare(self, frame):
        """Statistics, then rows; `frame` gets the frame's message."""
        X, n = self.X, len(self.owners)
        for name in self.plan.preparation.statistics:
            shares = [o.statistic(name, X[i::n]) for i, o in enumerate(self.owners)]
            self.key_holder.prepare(self.evaluator.aggregate(name, shares))
            for owner in self.owners:
                owner.adopt(frame())
        for i, owner in enumerate(self.owners):
            self.evaluator.load(owner.encrypt(X[i::n], self.targets[i::n]))

    def reply(self, step=0):
        """The evaluator's answer to the weights of a step."""
        weights = self.key_holder.weights()
        return self.evaluator.step(weights, [owner.noise(step) for owner in self.owners])
