"""One side of Autobahn's testsuite, run by the Python that the suite is installed for.

    fuzz.py cases            prints the names of all cases, as JSON
    fuzz.py client SPEC      runs cases against the servers that SPEC names
    fuzz.py server SPEC      prints its address, and runs cases against clients until its
                             standard input ends

SPEC is JSON as `wstest` takes it; its `outdir` is where the reports go. Unlike `wstest`, the
server listens on the loopback only, on a port that the system chooses.
"""

import json
import os
import socket
import sys
import threading

# The suite prints much, beginning with its import: standard output is for answers only.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

# Before anything of Twisted, whose reactor it chooses.
from autobahntestsuite import fuzzing
from twisted.internet import reactor

# How long the peer may take for what it must do, in seconds. The suite's own bounds, from one
# second on, would also tell a busy machine from an idle one.
PATIENCE = 30


def cases() -> None:
    suite = fuzzing.CaseSet(
        fuzzing.CaseSetname,
        fuzzing.CaseBasename,
        fuzzing.Cases,
        fuzzing.CaseCategories,
        fuzzing.CaseSubCategories,
    )
    print(json.dumps(suite.parseSpecCases({"cases": ["*"]})), file=answers)


def client(spec: str) -> None:
    fuzzing.startClient(read(spec, "serverConnectionDropTimeout"))
    reactor.run()


def server(spec: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    # The suite compares the Host of every request with this URL.
    factory = fuzzing.FuzzingServerFactory(read(spec) | {"url": f"ws://{address}"})
    reactor.adoptStreamPort(listener.fileno(), socket.AF_INET, factory)
    print(address, file=answers, flush=True)
    threading.Thread(target=stop_with_input, daemon=True).start()
    reactor.run()


def stop_with_input() -> None:
    sys.stdin.read()
    reactor.callFromThread(reactor.stop)


def read(spec: str, *timeouts: str) -> dict:
    timeouts = ["openHandshakeTimeout", "closeHandshakeTimeout", *timeouts]
    with open(spec, encoding="utf-8") as file:
        return json.load(file) | {"options": dict.fromkeys(timeouts, PATIENCE)}


def be_patient() -> None:
    """Cases end by these only where something is awaited in vain."""
    protocol = fuzzing.FuzzingProtocol
    kill_after, close_after = protocol.killAfter, protocol.closeAfter
    protocol.killAfter = lambda self, delay: kill_after(self, max(delay, PATIENCE))
    protocol.closeAfter = lambda self, delay: close_after(self, max(delay, PATIENCE))


be_patient()
mode, *paths = sys.argv[1:]
{"cases": cases, "client": client, "server": server}[mode](*paths)
answers.flush()
