"""How the clients in Python tell what they see: see the README beside."""

import hashlib
import json
import sys
from pathlib import Path

ADDRESS, FOLDER, OFFER = sys.argv[1:]
OFFERS_COMPRESSION = OFFER == "offer"
IN_FRAGMENTS = ["repeated.txt", "random.bin"]
FRAGMENT = 10_007
BURST = [str(number) for number in range(200)]
TOO_MUCH = bytes((1 << 20) + 1)


def tell(check: str, saw: object) -> None:
    print(json.dumps({"check": check, "saw": saw}), flush=True)


def describe(message: str | bytes) -> str:
    kind = "text" if isinstance(message, str) else "binary"
    content = message.encode() if isinstance(message, str) else message
    return f"{kind} {len(content)} {hashlib.sha256(content).hexdigest()}"


def payloads() -> dict[str, str | bytes]:
    return {path.name: payload(path) for path in sorted(Path(FOLDER).iterdir())}


def payload(path: Path) -> str | bytes:
    content = path.read_bytes()
    return content.decode() if path.suffix == ".txt" else content


def fragments(name: str) -> list[bytes]:
    """The payload in pieces, which may end within a character."""
    content = (Path(FOLDER) / name).read_bytes()
    return [content[at : at + FRAGMENT] for at in range(0, len(content), FRAGMENT)]
