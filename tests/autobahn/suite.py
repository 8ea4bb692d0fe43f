"""Autobahn's testsuite in a virtual environment of its own."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
PORT = HERE / "port_py3.py"
FUZZ = HERE / "fuzz.py"
# What the released suite holds: were one lost in porting it, nothing else would tell.
CASES = 517


def fuzz_command(python: Path, *arguments: object) -> list[str]:
    return [str(python), "-W", "ignore", str(FUZZ), *map(str, arguments)]


def install(folder: Path) -> Path:
    """Makes sure that the suite is in `folder`, and returns the Python it is installed for."""
    python = folder / "bin" / "python"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + PORT.read_bytes()).hexdigest()
    stamp = folder / "installed"
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f"installing Autobahn's testsuite into {folder}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([find_python(), "-m", "venv", folder], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", REQUIREMENTS], check=True)
    subprocess.run([python, "-W", "ignore", PORT], check=True)
    stamp.write_text(wanted)
    return python


def all_cases(python: Path) -> list[str]:
    """The names of all cases, in order."""
    command = fuzz_command(python, "cases")
    printed = subprocess.run(command, check=True, capture_output=True).stdout
    cases = json.loads(printed)
    if len(cases) != CASES:
        sys.exit(f"the suite has {len(cases)} cases instead of {CASES}")
    return cases


def find_python() -> str:
    """A Python that can translate Python 2, as the suite still is: later ones have no lib2to3."""
    names = [os.environ.get("PYTHON"), "python3.11", "python3.12", "python3"]
    for name in filter(None, names):
        try:
            found = subprocess.run(
                [name, "-W", "ignore", "-c", "import lib2to3, venv, ensurepip"],
                stderr=subprocess.DEVNULL,
            )
        except FileNotFoundError:
            continue
        if found.returncode == 0:
            return name
    sys.exit(
        "Autobahn's testsuite needs Python 3.11 or 3.12 with venv and lib2to3 (in Debian's packages"
        " python3-venv and python3-lib2to3); the variable PYTHON may name it"
    )
