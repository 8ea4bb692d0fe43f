"""Talks to an echo service with Python's `websockets`.

The first argument is the service's address, or the path of its Unix socket.
"""

import asyncio
import sys

try:
    import websockets
except ImportError:
    sys.exit("websockets, 10 or later, is missing: see \"Test it\" in the README")


def connect(address: str, **options):
    if address.startswith("/"):
        return websockets.unix_connect(address, "ws://localhost/", max_size=None, **options)
    return websockets.connect(f"ws://{address}/", max_size=None, **options)


async def talk(address: str) -> None:
    socket = await connect(address, subprotocols=["v1"], compression="deflate")
    assert socket.subprotocol == "v1", socket.subprotocol
    for message in ["hello", "", "grüße 😀", b"", bytes(range(256)), "x" * 100_000, b"\x00" * 300_000]:
        await socket.send(message)
        echo = await socket.recv()
        assert echo == message, (type(message), len(message))
    await socket.send(["in ", "several ", "frames"])
    assert await socket.recv() == "in several frames"
    await asyncio.wait_for(await socket.ping(b"are you there?"), 10)
    for number in range(200):
        await socket.send(str(number))
    for number in range(200):
        assert await socket.recv() == str(number)
    await socket.close(4321, "enough")
    assert socket.close_code == 4321, socket.close_code


async def say_too_much(address: str) -> None:
    # Not `async with`: leaving it closes once more, which asyncio may not survive when the
    # transport is gone already.
    socket = await connect(address)
    try:
        await socket.send("x" * 600_000)
        await socket.recv()
    except websockets.ConnectionClosed as closed:
        assert closed.rcvd is not None and closed.rcvd.code == 1009, closed
    else:
        sys.exit("a message over the limit was taken")


async def main(address: str) -> None:
    await talk(address)
    await say_too_much(address)
    print("done")


asyncio.run(main(sys.argv[1]))
