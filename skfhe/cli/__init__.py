"""The command line ``skfhe``, one module for every command; needs ``skfhe[cli]``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        import click  # noqa: F401
    except ImportError:
        sys.exit("skfhe: the command line needs the extra `cli`: pip install 'skfhe[cli]'")
    from .app import skfhe

    skfhe(prog_name="skfhe")
