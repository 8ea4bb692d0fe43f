"""Programs that are started, and ended whatever happens."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Seconds that anything may take before it is given up: for a machine under heavy load.
PATIENCE = 180

Program = subprocess.Popen


@contextmanager
def started(command: list, environment: dict[str, str] | None = None) -> Iterator[Program]:
    """A program whose pipes are open; neither it nor what it started outlives the `with`."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = os.environ | (environment or {})
    command = [str(part) for part in command]
    with Program(command, **pipes, text=True, start_new_session=True, env=environment) as program:
        try:
            yield program
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)


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
