"""Python's `websockets`: see the README beside."""

import asyncio

from telling import (
    ADDRESS,
    BURST,
    IN_FRAGMENTS,
    OFFERS_COMPRESSION,
    TOO_MUCH,
    describe,
    fragments,
    payloads,
    tell,
)
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import ConnectionClosed


async def dial() -> ClientConnection:
    options = {
        "subprotocols": ["throng"],
        "compression": "deflate" if OFFERS_COMPRESSION else None,
        "max_size": None,
        "ping_interval": None,
    }
    if ADDRESS.startswith("/"):
        return await unix_connect(ADDRESS, "ws://localhost/", **options)
    return await connect(f"ws://{ADDRESS}/", **options)


async def talk() -> None:
    socket = await dial()
    tell("extension", socket.response.headers.get("Sec-WebSocket-Extensions"))
    tell("subprotocol", socket.subprotocol)
    for name, message in payloads().items():
        await socket.send(message)
        tell(f"message {name}", describe(await socket.recv()))
    for message in BURST:
        await socket.send(message)
    tell("burst", [await socket.recv() for _ in BURST])
    await (await socket.ping(b"are you there?"))
    # Only the pong with this payload ends the wait. Pings are answered, but shown to nobody.
    tell("ping", "are you there?")
    tell("pinged", None)
    await socket.close(4001, "enough")
    tell("close by client", socket.close_code)


async def be_closed() -> None:
    socket = await dial()
    for name in IN_FRAGMENTS:
        await socket.send(fragments(name), text=name.endswith(".txt"))
        tell(f"fragments {name}", describe(await socket.recv()))
    await socket.send("!close 4002 that is all")
    tell("close by server", await received_close(socket))


async def say_too_much() -> None:
    socket = await dial()
    try:
        await socket.send(TOO_MUCH)
    except ConnectionClosed:
        # The answer may come before all was written.
        pass
    tell("too big", await received_close(socket))


async def received_close(socket: ClientConnection) -> list:
    try:
        return ["a message", describe(await socket.recv())]
    except ConnectionClosed as closed:
        return [closed.rcvd.code, closed.rcvd.reason] if closed.rcvd else ["none", str(closed)]


async def main() -> None:
    await talk()
    await be_closed()
    await say_too_much()


asyncio.run(main())
