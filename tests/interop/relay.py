"""Counts what goes over the wire between a client and a server."""

import socket
from contextlib import suppress
from threading import Thread


class Relay:
    """Passes on what clients send to `server`, and what it answers, until the relay is closed."""

    def __init__(self, server: str):
        host, port = server.rsplit(":", 1)
        self.server = (host, int(port))
        # Bytes to the server and from it.
        self.passed = {"up": 0, "down": 0}
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self.listener.getsockname())
        Thread(target=self.accept, daemon=True).start()

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_) -> None:
        # Closing alone does not wake the thread that accepts.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.server)
                for ends in [(client, server, "up"), (server, client, "down")]:
                    Thread(target=self.pass_on, args=ends, daemon=True).start()

    def pass_on(self, source: socket.socket, sink: socket.socket, direction: str) -> None:
        with suppress(OSError):
            while received := source.recv(1 << 16):
                # One connection follows another, so that no other thread counts this direction.
                self.passed[direction] += len(received)
                # Who takes no more may still have something to say: the other way stays open.
                with suppress(OSError):
                    sink.sendall(received)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
