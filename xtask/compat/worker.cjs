// A worker that does as it is told: Node's own side of the comparison.
'use strict';
const cluster = require('node:cluster');
const dgram = require('node:dgram');
const net = require('node:net');
const { once } = require('node:events');
const { link, tagged, untagged } = require('./link.cjs');
const { Sockets } = require('./sockets.cjs');

const { worker } = cluster;
const sockets = new Sockets(`worker ${worker.id}`);
const servers = new Map();

async function listening(server, id) {
  await once(server, 'listening');
  servers.set(id, server);
  const address = server.address();
  return typeof address === 'string' ? { path: address } : { address: address.address, port: address.port };
}

const orders = {
  listen({ id, ...options }) {
    const server = net.createServer((socket) => socket.end(`worker ${worker.id}, ${id}\n`));
    server.listen(options);
    return listening(server, id);
  },
  bind({ id, type, port, host, ...options }) {
    const socket = dgram.createSocket({ type, ...options });
    socket.on('message', (_, from) => {
      socket.send(`worker ${worker.id}, ${id}\n`, from.port, from.address);
    });
    socket.bind({ port, address: host, exclusive: options.exclusive });
    return listening(socket, id);
  },
  async close({ id }) {
    const closed = once(servers.get(id), 'close');
    servers.get(id).close();
    await closed;
  },
  send({ message }) {
    return new Promise((resolve) => {
      process.send(untagged(message), (error) => resolve(error ? { error: error.code } : 'written'));
    });
  },
  sendHandle: (what) => sockets.send(process, what),
  make: (what) => sockets.make(what),
  say: (what) => sockets.say(what),
  print: ({ text }) => void process.stdout.write(text),
  state: () => ({
    id: worker.id,
    pid: process.pid,
    connected: worker.isConnected(),
    exitedAfterDisconnect: worker.exitedAfterDisconnect ?? null,
  }),
  start: () => ({
    args: process.argv.slice(2),
    cwd: process.cwd(),
    greeting: process.env.COMPAT_GREETING ?? null,
    uniqueId: process.env.NODE_UNIQUE_ID ?? null,
  }),
  disconnect: () => void worker.disconnect(),
  kill(_, answer) {
    answer(null);
    said(() => worker.kill());
  },
  closeChannel: () => void process.disconnect(),
  exit({ code }, answer) {
    answer(null);
    said(() => process.exit(code));
  },
};

const { note, said, socket } = link({ hello: 'worker', id: worker.id }, orders);
// The stage alone keeps no worker alive.
socket.unref();
process.on('message', (message, handle) => {
  note('message', { message: tagged(message), handle: sockets.use(handle) });
});
worker.on('disconnect', () => note('disconnect'));
