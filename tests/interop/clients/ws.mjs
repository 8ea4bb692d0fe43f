// Node's `ws`: see the README beside.

import { on, once } from "node:events";
import { WebSocket } from "ws";
import {
  BURST, FRAGMENT, IN_FRAGMENTS, TOO_MUCH, address, describe, offersCompression, payload, payloads, tell,
} from "./telling.mjs";

async function dial() {
  const socket = new WebSocket(`ws://${address}/`, ["throng"], { perMessageDeflate: offersCompression });
  const messages = on(socket, "message");
  let extension;
  socket.on("upgrade", (response) => (extension = response.headers["sec-websocket-extensions"] ?? null));
  await once(socket, "open");
  const hear = async () => (await messages.next()).value;
  return { socket, extension, hear };
}

async function talk() {
  const { socket, extension, hear } = await dial();
  tell("extension", extension);
  tell("subprotocol", socket.protocol);
  for (const name of payloads()) {
    const { content, isBinary } = payload(name);
    socket.send(content, { binary: isBinary });
    tell(`message ${name}`, describe(...(await hear())));
  }
  for (const message of BURST) socket.send(message);
  const echoes = [];
  for (const _ of BURST) echoes.push(String((await hear())[0]));
  tell("burst", echoes);
  socket.ping("are you there?");
  tell("ping", String((await once(socket, "pong"))[0]));
  socket.send("!ping and you?");
  tell("pinged", String((await once(socket, "ping"))[0]));
  socket.close(4001, "enough");
  tell("close by client", (await once(socket, "close"))[0]);
}

async function beClosed() {
  const { socket, hear } = await dial();
  for (const name of IN_FRAGMENTS) {
    sendInFragments(socket, payload(name));
    tell(`fragments ${name}`, describe(...(await hear())));
  }
  socket.send("!close 4002 that is all");
  tell("close by server", await receivedClose(socket));
}

async function sayTooMuch() {
  const { socket } = await dial();
  // The answer may come before all was written.
  socket.send(Buffer.alloc(TOO_MUCH), () => {});
  tell("too big", await receivedClose(socket));
}

function sendInFragments(socket, { content, isBinary }) {
  for (let at = 0; at < content.length; at += FRAGMENT) {
    const fin = at + FRAGMENT >= content.length;
    socket.send(content.subarray(at, at + FRAGMENT), { binary: isBinary, fin });
  }
}

async function receivedClose(socket) {
  const [code, reason] = await once(socket, "close");
  return [code, String(reason)];
}

await talk();
await beClosed();
await sayTooMuch();
