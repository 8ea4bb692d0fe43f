"""The clients and what they need, installed where it is missing."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from expected import Client

HERE = Path(__file__).resolve().parent
CLIENTS = HERE / "clients"
# Where Debian puts the sources of Go's packages.
GOPATH = "/usr/share/gocode"
GORILLA = f"{GOPATH}/src/github.com/gorilla/websocket"
# What the packages in `requirements.txt` run on, and playwright-core.
OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 18
# By what is missing without it.
PACKAGES = {
    "node": "nodejs",
    "npm": "npm",
    "go": "golang-go",
    GORILLA: "golang-github-gorilla-websocket-dev",
    os.environ.get("CHROMIUM", "chromium"): "chromium",
}


def install(folder: Path) -> list[Client]:
    """Makes sure that the clients are in `folder`."""
    if sys.version_info < OLDEST_PYTHON:
        sys.exit("Python is older than {}.{}".format(*OLDEST_PYTHON))
    install_packages()
    if int(version(["node", "-p", "process.versions.node"]).split(".")[0]) < OLDEST_NODE:
        sys.exit(f"Node is older than {OLDEST_NODE}")
    # For the programs that start it.
    chromium = os.environ.setdefault("CHROMIUM", shutil.which("chromium"))
    python = install_python(folder / "python")
    node = install_node(folder / "node")
    gorilla = build_gorilla(folder / "gorilla")
    installed = [
        python,
        "-c",
        "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))",
    ]
    return [
        Client(
            "ws",
            version(["node", "-p", "require('ws/package.json').version"], cwd=node),
            ["node", node / "ws.mjs"],
        ),
        Client(
            "websockets",
            version([*installed, "websockets"]),
            [python, "-B", CLIENTS / "websockets_client.py"],
            cannot={"pinged"},
            reaches_unix_sockets=True,
        ),
        Client(
            "aiohttp",
            version([*installed, "aiohttp"]),
            [python, "-B", CLIENTS / "aiohttp_client.py"],
            cannot={"fragments"},
        ),
        Client(
            "gorilla",
            version(["dpkg-query", "--show", "--showformat=${Version}", PACKAGES[GORILLA]]),
            [gorilla],
            without_context=True,
        ),
        Client(
            "chromium",
            version([chromium, "--version"]).split()[1],
            ["node", node / "chromium.mjs"],
            cannot={"fragments", "ping", "pinged"},
            always_offers=True,
            fragments_at_will=True,
        ),
    ]


def in_chromium(folder: Path, program: str) -> list:
    """The command of those who use a page."""
    return ["node", folder / "node" / program]


def install_packages() -> None:
    missing = [
        package
        for needed, package in PACKAGES.items()
        if not (shutil.which(needed) or Path(needed).is_dir())
    ]
    # Debian's Python has this apart, and cannot fill a new environment without.
    if importlib.util.find_spec("ensurepip") is None:
        missing.append("python3-venv")
    if not missing:
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        sys.exit(f"missing, by Debian's names: {' '.join(missing)}")
    print("installing", *missing, flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in ["update"], ["install", "--yes", "--no-install-recommends", *missing]:
        subprocess.run(["apt-get", "-qq", *command], check=True, env=environment)


def install_python(folder: Path) -> Path:
    """Python with the packages of `requirements.txt`."""
    requirements = HERE / "requirements.txt"
    python = folder / "bin" / "python"
    if is_new(folder, [requirements]):
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", requirements], check=True)
        be_old(folder, [requirements])
    return python


def install_node(folder: Path) -> Path:
    """A folder with the packages of `package-lock.json`, and the programs that import them."""
    lists = [HERE / "package.json", HERE / "package-lock.json"]
    folder.mkdir(parents=True, exist_ok=True)
    for source in [*lists, *CLIENTS.glob("*.mjs")]:
        shutil.copy(source, folder)
    if is_new(folder, lists):
        quietly = ["--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(["npm", "ci", *quietly], cwd=folder, check=True)
        be_old(folder, lists)
    return folder


def build_gorilla(program: Path) -> Path:
    # By the old rules packages are found where Debian puts them, without a network.
    environment = os.environ | {"GO111MODULE": "off", "GOPATH": GOPATH, "GOFLAGS": ""}
    command = ["go", "build", "-o", program, CLIENTS / "gorilla.go"]
    subprocess.run(command, check=True, env=environment)
    return program


def is_new(folder: Path, lists: list[Path]) -> bool:
    """Whether something else than these lists was installed last, or nothing."""
    stamp = folder / "installed"
    return not stamp.is_file() or stamp.read_text() != digest(lists)


def be_old(folder: Path, lists: list[Path]) -> None:
    (folder / "installed").write_text(digest(lists))


def digest(files: list[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def version(command: list, cwd: Path | None = None) -> str:
    # Chromium's launcher complains about the machine.
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.run(command, check=True, text=True, cwd=cwd, **quiet).stdout.strip()
