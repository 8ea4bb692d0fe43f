// Node's ws, for the same scenarios as the engine.
//
// Its documentation: no permessage-deflate, `bufferutil` installed for masks, no tracking of clients
// by the server where it is not needed, and a frame made once by `Sender.frame` for many. Node's
// documentation: a corked socket that is uncorked in the next tick writes what one event brought
// about at once.
//
// The first line on standard output is "listening on ADDR".

import { parseArgs } from 'node:util';

import { Sender, WebSocketServer } from 'ws';

const TEXT = 1;
const BINARY = 2;

const { values } = parseArgs({
  options: {
    scenario: { type: 'string', default: 'echo' },
    listen: { type: 'string', default: '127.0.0.1:0' },
  },
});
const join = { echo, room }[values.scenario];
if (join === undefined) {
  throw new Error(`scenario ${values.scenario}: must be echo or room`);
}
const { hostname, port } = new URL(`tcp://${values.listen}`);
const server = new WebSocketServer({
  host: hostname,
  port: Number(port),
  perMessageDeflate: false,
  clientTracking: false,
});
server.on('listening', () => {
  const { address, port } = server.address();
  console.log(`listening on ${address}:${port}`);
});
server.on('connection', (ws, request) => {
  // Who vanishes is told by 'close', too.
  ws.on('error', () => {});
  join(ws, request.socket);
});

function echo(ws, socket) {
  let corked = false;
  const uncork = () => {
    corked = false;
    socket.uncork();
  };
  ws.on('message', (data, isBinary) => {
    if (!corked) {
      corked = true;
      socket.cork();
      process.nextTick(uncork);
    }
    ws.send(data, { binary: isBinary });
  });
}

const members = new Set();
// The frames of this tick, which go to every member in one write.
let frames = [];

function room(ws, socket) {
  members.add(socket);
  ws.on('close', () => members.delete(socket));
  ws.on('message', (data, isBinary) => {
    if (frames.length === 0) {
      process.nextTick(publish);
    }
    const opcode = isBinary ? BINARY : TEXT;
    frames.push(...Sender.frame(data, { fin: true, opcode, mask: false, readOnly: true }));
  });
}

function publish() {
  const bytes = Buffer.concat(frames);
  frames = [];
  for (const socket of members) {
    if (socket.writable) {
      socket.write(bytes);
    }
  }
}
