"""The group of all commands, and what the process ends with when one fails."""

from __future__ import annotations

import traceback
from typing import Any

import click

from ._common import debugging, say
from ._errors import explain
from .encrypt import encrypt
from .fit import fit
from .inspect import inspect
from .keygen import keygen
from .keyholder import keyholder
from .plan import plan
from .release import release


class Commands(click.Group):
    """Turns errors into one line on standard error and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if debugging():
                traceback.print_exc()
            code, text = explain(error)
            say(f"error: {text}")
            ctx.exit(code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="skfhe")
def skfhe() -> None:
    """Train on encrypted rows and release private models, as separate parties.

    The parties agree on a plan. The key holder makes keys and serves them; owners encrypt their
    rows and their noise; the evaluator computes on ciphertexts; the key holder decrypts one
    noised sum per step; the released model is a scikit-learn estimator.

    \b
    everybody     skfhe plan plan.json --samples 1000 --schema schema.json --owners 3
    key holder    skfhe keygen plan.json keys
    key holder    skfhe keyholder serve keys --evaluator-tokens F --owner-tokens F ...
    every owner   skfhe encrypt plan.json folder rows.csv --owner 0 --key-holder URL ...
    evaluator     skfhe fit plan.json folder0 folder1 folder2 --key-holder URL ...
    everybody     skfhe release plan.json model.skops --key-holder URL ...

    With --json a command writes one JSON object to standard output. Messages go to standard
    error.

    \b
    Exit codes
      0  done
      1  unexpected; SKFHE_DEBUG=1 shows the traceback, which may quote rows
      2  the command line is wrong
      3  no plan meets the request
      4  wrong or damaged input: a file, a message, a state, a token; of another plan or run
      5  the privacy budget does not pay
      6  the run is over, its key burned
      7  the key holder cannot be reached
      8  something is still missing; call again later, what is done stays
    """


for command in (plan, keygen, keyholder, encrypt, fit, release, inspect):
    skfhe.add_command(command)
