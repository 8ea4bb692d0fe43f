// The `WebSocket` of Chromium: see the README beside. A page cannot send fragments or pings, nor see pings.

import { openTab, withBrowser } from "./browser.mjs";
import { BURST, IN_FRAGMENTS, TOO_MUCH, address, payload, payloads, tell } from "./telling.mjs";

await withBrowser(async (browser) => {
  const complaints = [];
  const tab = await openTab(await browser.newContext(), `http://${address}/`, complaints);
  await tab.exposeFunction("tell", tell);
  await tab.evaluate(prepare, address);
  const messages = payloads().map((name) => {
    const { content, isBinary } = payload(name);
    return { name, content: content.toString(isBinary ? "base64" : "utf8"), isBinary };
  });
  await tab.evaluate(talk, { messages, burst: BURST });
  for (const name of IN_FRAGMENTS) tell(`fragments ${name}`, null);
  await tab.evaluate(beClosed);
  await tab.evaluate(sayTooMuch, TOO_MUCH);
  if (complaints.length) throw new Error(complaints.join("\n"));
});

// These run on the page.

function prepare(address) {
  /** The next event of that kind. */
  globalThis.next = (socket, kind) =>
    new Promise((resolve) => socket.addEventListener(kind, resolve, { once: true }));

  globalThis.dial = async () => {
    const socket = new WebSocket(`ws://${address}/`, ["throng"]);
    socket.binaryType = "arraybuffer";
    await next(socket, "open");
    return socket;
  };

  globalThis.describe = async (message) => {
    const isText = typeof message === "string";
    const content = isText ? new TextEncoder().encode(message) : new Uint8Array(message);
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
    const hex = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return `${isText ? "text" : "binary"} ${content.length} ${hex}`;
  };
}

async function talk({ messages, burst }) {
  const socket = await dial();
  await tell("extension", socket.extensions || null);
  await tell("subprotocol", socket.protocol);
  for (const { name, content, isBinary } of messages) {
    const echo = next(socket, "message");
    socket.send(isBinary ? Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0)) : content);
    await tell(`message ${name}`, await describe((await echo).data));
  }
  const echoes = [];
  const all = new Promise((resolve) => {
    socket.onmessage = ({ data }) => echoes.push(data) === burst.length && resolve();
  });
  for (const message of burst) socket.send(message);
  await all;
  await tell("burst", echoes);
  await tell("ping", null);
  await tell("pinged", null);
  const closed = next(socket, "close");
  socket.close(4001, "enough");
  await tell("close by client", (await closed).code);
}

async function beClosed() {
  const socket = await dial();
  const closed = next(socket, "close");
  socket.send("!close 4002 that is all");
  const { code, reason } = await closed;
  await tell("close by server", [code, reason]);
}

async function sayTooMuch(size) {
  const socket = await dial();
  const closed = next(socket, "close");
  socket.send(new Uint8Array(size));
  const { code, reason } = await closed;
  await tell("too big", [code, reason]);
}
