"""What the clients send, and what each must see."""

import hashlib
import random
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1 << 20
# Where a client has no means for a check, and tells `null`.
NO_MEANS = object()
IN_FRAGMENTS = ["repeated.txt", "random.bin"]
BURST = [str(number) for number in range(200)]

# What the server prints about the three connections.
CAUSES = [
    'PeerClosed { code: Some(CloseCode(4001)), reason: "enough" }',
    "Kicked { code: CloseCode(4002) }",
    "TooBig",
]

CHAT_STEPS = [
    "enter",
    "talk",
    "join",
    "private message",
    "leave",
    "close the tab",
    "history",
    "a name that is taken",
]
ADMIN_STEPS = [
    "wrong token",
    "numbers",
    "desktop, phone and dark",
    "search",
    "close a room",
    "close a connection",
    "log out",
    "drain",
]

ALONE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
IN_CONTEXT = "permessage-deflate"


@dataclass(frozen=True)
class Compression:
    """How the server compresses, and whether the client offers that it may."""

    name: str
    server: str
    offered: bool
    agreed: str | None = None


COMPRESSIONS = [
    Compression("off", "off", True),
    Compression("not offered", "on", False),
    Compression("on", "on", True, ALONE),
    Compression("takeover", "takeover", True, IN_CONTEXT),
]


@dataclass(frozen=True)
class Client:
    """A client that is installed."""

    name: str
    version: str
    command: list
    # Checks for which it has no means.
    cannot: set[str] = field(default_factory=set)
    # It cannot be told not to offer compression.
    always_offers: bool = False
    # It never lets messages refer to those before them.
    without_context: bool = False
    # It sends long messages in fragments, asked or not.
    fragments_at_will: bool = False
    reaches_unix_sockets: bool = False


def write_payloads(folder: Path) -> Path:
    """Writes what is sent, a file for each message; what ends in `.txt` as text."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = random.Random(1)
    unit = "grüße 😀 ".encode()
    messages = {
        "empty.txt": b"",
        "empty.bin": b"",
        "words.txt": "grüße 😀".encode(),
        "bytes.bin": bytes(range(256)),
        "repeated.txt": (MIB // len(unit) * unit).ljust(MIB, b"."),
        "repeated.bin": MIB // 256 * bytes(range(256)),
        "random.txt": bytes(noise.choices(range(ord(" "), ord("~") + 1), k=MIB)),
        "random.bin": noise.randbytes(MIB),
    }
    for name, content in messages.items():
        (folder / name).write_bytes(content)
    return folder


def sights(client: Client, compression: Compression, payloads: Path) -> dict[str, object]:
    """What each check must tell."""
    agreed = compression.agreed
    echoes = {path.name: describe(path) for path in sorted(payloads.iterdir())}
    # A length that is declared shows at once, any other when it has come to that.
    in_parts = agreed is not None or client.fragments_at_will
    all_sights = {
        "extension": ALONE if agreed and client.without_context else agreed,
        "subprotocol": "throng",
        **{f"message {name}": echo for name, echo in echoes.items()},
        "burst": BURST,
        "ping": "are you there?",
        "pinged": "and you?",
        "close by client": 4001,
        **{f"fragments {name}": echoes[name] for name in IN_FRAGMENTS},
        "close by server": [4002, "that is all"],
        "too big": [1009, "message too big" if in_parts else "frame too big"],
    }
    return {
        check: NO_MEANS if check.split()[0] in client.cannot else saw
        for check, saw in all_sights.items()
    }


def describe(path: Path) -> str:
    content = path.read_bytes()
    kind = "text" if path.suffix == ".txt" else "binary"
    return f"{kind} {len(content)} {hashlib.sha256(content).hexdigest()}"


def check_traffic(
    client: Client, compression: Compression, payloads: Path, passed: dict[str, int]
) -> list[str]:
    """Whether messages were compressed both ways, or not: what went over the wire tells."""
    sent = [path.name for path in payloads.iterdir()]
    sent += [] if "fragments" in client.cannot else IN_FRAGMENTS
    sizes = [(name, (payloads / name).stat().st_size) for name in sent]
    whole = sum(size for _, size in sizes)
    shrinking = sum(size for name, size in sizes if name.startswith("repeated"))
    complaints = []
    for direction, count in passed.items():
        if not compression.agreed and count < whole:
            complaints.append(f"{direction}: {count} bytes, but {whole} uncompressed")
        if compression.agreed and count > whole - shrinking:
            complaints.append(f"{direction}: {count} bytes, of {whole} uncompressed")
    return complaints
