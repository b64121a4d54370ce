"""A secret key at rest: one file, encrypted under a passphrase if there is one.

With a passphrase the key is sealed by AES-256-GCM under a key that scrypt derives (RFC 7914 with
n = 2^15, r = 8, p = 1), and bound to its run and plan as associated data. Without one it is only
as safe as the folder that it lies in.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ..exceptions import MessageError, StateError
from ..plan import TrainingPlan
from . import messages

SECRET_FILE = "secret.key"
_KIND = "secret key"
_NONCE, _SALT = 12, 16


def write_secret(
    path: Path, secret: bytes, plan_digest: str, run: str, passphrase: bytes | None
) -> None:
    """Write a key that is not there yet, readable by its owner alone, all of it or nothing."""
    sections = [secret]
    if passphrase:
        salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
        cipher = _cipher(passphrase, salt)
        sections = [salt, nonce, cipher.encrypt(nonce, secret, _bound(plan_digest, run))]
    data = messages.pack(_KIND, plan_digest, sections, run=run, sealed=bool(passphrase))
    write_private(path, data)


def owner_key(folder: Path, passphrase: bytes | None = None) -> tuple[TrainingPlan, str, bytes]:
    """Plan, run and secret key, for the single owner who is the key holder too.

    Parameters
    ----------
    folder : Path
        The key holder's; a process that serves it meanwhile is not disturbed.
    passphrase : bytes, optional
        What the key is sealed by.
    """
    try:
        plan = _plan_of(folder)
        header, _ = messages.unpack((folder / SECRET_FILE).read_bytes(), _KIND, plan.digest)
    except OSError:
        raise StateError(f"{folder} holds no key: the run is over, or has none yet.") from None
    run = messages.run_of(header)
    return plan, run, read_secret(folder / SECRET_FILE, plan.digest, run, passphrase)


def _plan_of(folder: Path) -> TrainingPlan:
    try:
        return TrainingPlan.from_json((folder / "plan.json").read_bytes())
    except ValueError as error:
        raise StateError(f"the key holder's folder {folder} is damaged: {error}") from None


def read_secret(path: Path, plan_digest: str, run: str, passphrase: bytes | None) -> bytes:
    """Read it back.

    Raises
    ------
    MessageError, PlanMismatch
        If the file is damaged, or belongs to another plan or run.
    StateError
        If the passphrase is missing or wrong: the key cannot be used.
    """
    header, sections = messages.unpack(path.read_bytes(), _KIND, plan_digest, run=run)
    if header.get("sealed") is False and len(sections) == 1:
        return bytes(sections[0])
    if header.get("sealed") is not True or len(sections) != 3:
        raise MessageError("this file holds no secret key of this package.")
    if not passphrase:
        raise StateError(f"the key in {path.name} is sealed; give the passphrase to use it.")
    from cryptography.exceptions import InvalidTag

    salt, nonce, sealed = map(bytes, sections)
    try:
        return _cipher(passphrase, salt).decrypt(nonce, sealed, _bound(plan_digest, run))
    except (InvalidTag, ValueError):
        raise StateError(
            f"the key in {path.name} does not open: the passphrase is another one, or the file "
            "was altered."
        ) from None


def has_key(folder: Path) -> bool:
    """Whether a key holder's folder has its secret key."""
    return (folder / SECRET_FILE).exists()


def erase(path: Path) -> None:
    """Overwrite a file and remove it.

    Flash storage, snapshots and copying file systems may keep what was there: seal the key where
    that matters.
    """
    if not path.exists():
        return
    with open(path, "r+b") as file:
        file.write(os.urandom(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    sync_folder(path.parent)


def write_private(path: Path, data: bytes) -> None:
    """Write a file for the owner's eyes only; after a crash it is there whole or not at all."""
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _bound(plan_digest: str, run: str) -> bytes:
    return f"{plan_digest} {run}".encode()


def _cipher(passphrase: bytes, salt: bytes):
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise ImportError(
            "a key sealed by a passphrase needs the extra `service`: pip install 'skfhe[service]'"
        ) from None
    key = hashlib.scrypt(passphrase, salt=salt, n=2**15, r=8, p=1, maxmem=2**26, dklen=32)
    return AESGCM(key)
