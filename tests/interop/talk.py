"""A client talks to a server, and what both saw is compared with what they must see."""

import json
import signal
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import expected
from expected import Client, Compression
from program import Program, first_line, rest, started
from relay import Relay


@dataclass
class Outcome:
    """What came of one talk."""

    title: str
    compression: str
    # For each check whether it passed; `None` where the client has no means.
    checks: dict[str, bool | None] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    # Bytes over the wire.
    passed: dict[str, int] = field(default_factory=dict)

    def compare(self, saw: dict[str, object], must: dict[str, object]) -> None:
        for check, wanted in must.items():
            if check in saw and wanted is expected.NO_MEANS and saw[check] is None:
                self.checks[check] = None
                continue
            self.checks[check] = check in saw and saw[check] == wanted
            if check in saw and saw[check] != wanted:
                self.complaints.append(f"{check}: {short(saw[check])} instead of {short(wanted)}")
        for check in sorted(saw.keys() ^ must.keys()):
            self.complaints.append(f"{check}: {'not asked for' if check in saw else 'missing'}")


def over_tcp(client: Client, compression: Compression, servers: Path, payloads: Path) -> Outcome:
    """A relay between the two counts bytes, which tell whether messages were compressed."""
    outcome = Outcome(client.name, compression.name)
    with started([servers / "interop_server", compression.server]) as server:
        with Relay(first_line(server, server.stdout)) as relay:
            talk(outcome, client, compression, server, relay.address, payloads)
    complaints = expected.check_traffic(client, compression, payloads, relay.passed)
    outcome.checks["traffic"] = not complaints
    outcome.complaints += complaints
    outcome.passed = relay.passed
    return outcome


def over_unix(client: Client, compression: Compression, servers: Path, payloads: Path) -> Outcome:
    outcome = Outcome(f"{client.name}, Unix socket", compression.name)
    # The path must be short, which that of a target folder need not be.
    with TemporaryDirectory() as folder:
        command = [servers / "interop_server", compression.server, Path(folder) / "socket"]
        with started(command) as server:
            address = first_line(server, server.stdout)
            talk(outcome, client, compression, server, address, payloads)
    return outcome


def talk(
    outcome: Outcome,
    client: Client,
    compression: Compression,
    server: Program,
    address: str,
    payloads: Path,
) -> None:
    offer = "offer" if compression.offered else "none"
    saw, printed = {}, ""
    try:
        saw = sights([*client.command, address, payloads, offer])
        printed, _ = rest(server, "the server")
    except RuntimeError as error:
        outcome.complaints.append(str(error))
    outcome.compare(saw, expected.sights(client, compression, payloads))
    outcome.compare({"causes": printed.splitlines()}, {"causes": expected.CAUSES})


def in_the_chat(people: list, compression: Compression, servers: Path) -> Outcome:
    """People, whose command is given, use the chat's page."""
    outcome = Outcome("some tabs", compression.name)
    settings = {"THRONG_COMPRESSION": compression.server, "NO_COLOR": "1"}
    saw, log = {}, ""
    with started(chat(servers), settings) as server:
        try:
            saw = sights([*people, listens_at(server)])
            server.send_signal(signal.SIGTERM)
            _, log = rest(server, "the chat")
        except RuntimeError as error:
            outcome.complaints.append(str(error))
    steps = {step: "shown" for step in expected.CHAT_STEPS}
    both_agreed = [compression.agreed, compression.agreed]
    outcome.compare(saw, {"extension": both_agreed, **steps, "complaints": []})
    outcome.compare({"log": trouble(log)}, {"log": []})
    return outcome


def on_the_admin_page(somebody: list, servers: Path, pictures: Path) -> Outcome:
    """Somebody, whose command is given, looks after the chat, and drains it."""
    outcome = Outcome("a tab", "off")
    token = "a token of some length"
    saw, log = {}, ""
    with started(chat(servers), {"CHAT_ADMIN_TOKEN": token, "NO_COLOR": "1"}) as server:
        try:
            saw = sights([*somebody, listens_at(server), token, pictures])
            _, log = rest(server, "the chat")
        except RuntimeError as error:
            outcome.complaints.append(str(error))
    steps = {step: "shown" for step in expected.ADMIN_STEPS}
    outcome.compare(saw, {**steps, "complaints": []})
    outcome.compare({"log": trouble(log)}, {"log": []})
    return outcome


def chat(servers: Path) -> list:
    return [servers / "examples" / "chat", "--listen", "127.0.0.1:0"]


def listens_at(server: Program) -> str:
    return first_line(server, server.stderr).rpartition("http://")[2]


def trouble(log: str) -> list[str]:
    return [line for line in log.splitlines() if " INFO " not in line]


def sights(command: list) -> dict[str, object]:
    """What a client tells."""
    with started(command) as program:
        printed, _ = rest(program, "the client")
    lines = [json.loads(line) for line in printed.splitlines()]
    return {line["check"]: line["saw"] for line in lines}


def short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=lambda _: "no means")
    return text if len(text) < 300 else f"{text[:300]}…"
