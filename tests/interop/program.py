"""Programs that are started, and ended whatever happens."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory
from threading import Timer
from typing import TextIO

# Seconds that anything may take before it is given up: for a machine under heavy load.
PATIENCE = 180
# And until a server listens.
PATIENCE_TO_LISTEN = 60
# And to end, once told to. Chromium is in a session of its own, and is ended by its client, which
# takes the profile away.
GRACE = 15

Program = subprocess.Popen


@contextmanager
def started(command: list, environment: dict[str, str] | None = None) -> Iterator[Program]:
    """A program whose pipes are open; it does not outlive the `with`."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [str(part) for part in command]
    # What a killed client leaves goes with this folder, unless a Chromium that is just noticing the
    # loss of its client still writes there.
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        environment = os.environ | {"TMPDIR": folder} | (environment or {})
        options = {"text": True, "start_new_session": True, "env": environment}
        with Program(command, **pipes, **options) as program:
            try:
                yield program
            finally:
                end(program)


def end(program: Program) -> None:
    """Ends the program and what is left of its session."""
    for how in signal.SIGTERM, signal.SIGKILL:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, how)
        with suppress(subprocess.TimeoutExpired):
            program.wait(GRACE)


def first_line(program: Program, pipe: TextIO) -> str:
    """What the program prints first, to this pipe of its.

    Raises:
        RuntimeError: It ends before, or takes too long.
    """
    deadline = Timer(PATIENCE_TO_LISTEN, program.kill)
    deadline.start()
    try:
        line = pipe.readline().strip()
    finally:
        deadline.cancel()
    if not line:
        raise RuntimeError(f"{program.args[0]} tells nothing")
    return line


def rest(program: Program, what: str) -> tuple[str, str]:
    """What else the program prints, to each of its pipes, until it ends; its input ends now.

    Raises:
        RuntimeError: It fails, or takes too long.
    """
    try:
        printed, complaints = program.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{what} hangs, having printed {error.stdout!r}") from error
    if program.returncode != 0:
        raise RuntimeError(
            f"{what} ended with {program.returncode}: {complaints}; before that: {printed[-200:]!r}"
        )
    return printed, complaints
