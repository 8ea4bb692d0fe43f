"""Python's `aiohttp`: see the README beside."""

import asyncio

from aiohttp import ClientSession, ClientWebSocketResponse, TraceConfig, WSMsgType
from telling import (
    ADDRESS,
    BURST,
    IN_FRAGMENTS,
    OFFERS_COMPRESSION,
    TOO_MUCH,
    describe,
    payloads,
    tell,
)


extensions = []


async def note_extension(_session, _context, end) -> None:
    extensions.append(end.response.headers.get("Sec-WebSocket-Extensions"))


def dial(session: ClientSession):
    return session.ws_connect(
        f"ws://{ADDRESS}/",
        protocols=["throng"],
        compress=15 if OFFERS_COMPRESSION else 0,
        max_msg_size=0,
        # Pings and pongs are received as messages are.
        autoping=False,
    )


async def talk(session: ClientSession) -> None:
    socket = await dial(session)
    tell("extension", extensions.pop())
    tell("subprotocol", socket.protocol)
    for name, message in payloads().items():
        await send(socket, message)
        tell(f"message {name}", describe((await socket.receive()).data))
    for message in BURST:
        await socket.send_str(message)
    tell("burst", [await socket.receive_str() for _ in BURST])
    await socket.ping(b"are you there?")
    tell("ping", await received(socket, WSMsgType.PONG))
    await socket.send_str("!ping and you?")
    tell("pinged", await received(socket, WSMsgType.PING))
    await socket.pong(b"and you?")
    await socket.close(code=4001, message=b"enough")
    tell("close by client", socket.close_code)


async def be_closed(session: ClientSession) -> None:
    socket = await dial(session)
    for name in IN_FRAGMENTS:
        tell(f"fragments {name}", None)
    await socket.send_str("!close 4002 that is all")
    tell("close by server", await received_close(socket))


async def say_too_much(session: ClientSession) -> None:
    socket = await dial(session)
    try:
        await socket.send_bytes(TOO_MUCH)
    except ConnectionError:
        # The answer may come before all was written.
        pass
    tell("too big", await received_close(socket))


async def send(socket: ClientWebSocketResponse, message: str | bytes) -> None:
    if isinstance(message, str):
        await socket.send_str(message)
    else:
        await socket.send_bytes(message)


async def received(socket: ClientWebSocketResponse, kind: WSMsgType) -> str:
    message = await socket.receive()
    return message.data.decode() if message.type == kind else repr(message)


async def received_close(socket: ClientWebSocketResponse) -> list:
    message = await socket.receive()
    if message.type == WSMsgType.CLOSE:
        return [message.data, message.extra]
    return ["no close", repr(message)]


async def main() -> None:
    # It keeps the answer to a handshake to itself, but for those who trace.
    trace = TraceConfig()
    trace.on_request_end.append(note_extension)
    async with ClientSession(trace_configs=[trace]) as session:
        await talk(session)
        await be_closed(session)
        await say_too_much(session)


asyncio.run(main())
