"""One bash per page: runs the commands of its console and sh blocks, tells what they print."""

import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SECONDS = 600  # a command that takes longer hangs
PORT = "8443"  # what pages say; a free one stands for it
SERVER = re.compile(r"skfhe keyholder serve\b(?!.*(--help|&\s*$))")


class ShellError(Exception):
    """A command that failed, hung, or could not be run."""


def logical_lines(text):
    r"""Lines of a script; those that a backslash continues are one, newlines and all."""
    lines = []
    for line in text.splitlines():
        if lines and lines[-1].endswith("\\"):
            lines[-1] += "\n" + line
        else:
            lines.append(line)
    return lines


def session(text):
    """Commands of a console block, each with the output shown below it.

    A command begins with ``$ ``; it goes on after a backslash, and in lines with ``> ``.
    """
    found = []
    for line in text.splitlines():
        if found and not found[-1][1] and found[-1][0].endswith("\\"):
            found[-1][0] += "\n" + line.removeprefix("> ")
        elif line.startswith("$ "):
            found.append([line[2:], ""])
        elif not found:
            raise ShellError(f"a console block begins with a command after '$ ', got {line!r}")
        elif line.startswith("> ") and not found[-1][1]:
            found[-1][0] += "\n" + line[2:]
        else:
            found[-1][1] += line + "\n"
    return [tuple(pair) for pair in found]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


class PageShell:
    """A bash in the page's folder, with this Python's commands; what it started ends with it."""

    def __init__(self, folder):
        self._folder, self._port, self._n = Path(folder), free_port(), 0
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        home = {"HOME": str(folder), "PATH": path, "COLUMNS": "100", "TERM": "dumb"}
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env={**os.environ, **home},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        # Like `set -e`, but the shell lives on.
        self._tell("trap 'failed=$?' ERR\n")

    def here(self, text):
        """A page's text with a port that is free, and closed to other machines."""
        return text.replace(PORT, self._port).replace("--host 0.0.0.0", "--host 127.0.0.1")

    def run(self, script, shown=None, matches=None):
        """Run a script; what it printed, on either stream.

        A service in the foreground, as in a terminal of its own, is run in the background. What
        runs there is given time until ``matches(printed)``, or until a service listens.
        """
        if self._bash.poll() is not None:
            raise ShellError("not run: the page's shell ended in an earlier block")
        lines = logical_lines(self.here(script))
        serves = [i for i, line in enumerate(lines) if SERVER.match(line.replace("\\\n", " "))]
        for i in serves:
            lines[i] += " &"
        self._n += 1
        commands, printed = (self._folder / f".page-{self._n}{end}" for end in (".sh", ".out"))
        commands.write_text("\n".join(lines) + "\n")
        self._tell(f"failed=0\n. {commands} > {printed} 2>&1 < /dev/null\necho $failed\n")
        code = self._answer(printed)
        if code:
            raise ShellError(f"exit code {code} of\n{script}\n{printed.read_text()}")
        if serves or lines[-1].endswith("&"):
            matches = matches if shown else (lambda out: "http" in out) if serves else None
            end = time.monotonic() + SECONDS
            while matches and not matches(printed.read_text()) and time.monotonic() < end:
                time.sleep(0.05)
            if serves and "http" not in printed.read_text():
                raise ShellError(f"it does not listen:\n{printed.read_text()}")
        return printed.read_text()

    def close(self):
        """End the shell and everything that runs in it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._bash.pid, number)
                self._bash.wait(timeout=10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass
            time.sleep(0.2)

    def _tell(self, text):
        self._bash.stdin.write(text)
        self._bash.stdin.flush()

    def _answer(self, printed):
        with selectors.DefaultSelector() as selector:
            selector.register(self._bash.stdout, selectors.EVENT_READ)
            if not selector.select(SECONDS):
                self.close()
                raise ShellError(f"hung for {SECONDS} s, after\n{printed.read_text()}")
        answer = self._bash.stdout.readline()
        if not answer:
            raise ShellError(f"the shell ended, after\n{printed.read_text()}")
        return int(answer)
