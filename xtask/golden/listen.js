'use strict';
// Streams of every address form, a connection to some, and the primary's disconnect.

const net = require('node:net');
const { ask, fork, hangUp, obey, once, outcome, quit, run, served } = require('./lib.js');

async function primary() {
  const worker = await fork();
  const forms = [
    { port: 0 },
    { port: 0, host: '127.0.0.1', backlog: 64 },
    { port: 0, host: '::1' },
    { port: 0, host: '::', ipv6Only: true },
    { path: 'plain.sock' },
    { path: 'open.sock', readableAll: true, writableAll: true },
  ];
  for (const form of forms) {
    const [where] = await ask(worker, 'listen', { form });
    const host = where.address === '::' ? '::1' : where.address;
    const client = await served(typeof where === 'string' ? where : { port: where.port, host });
    await hangUp(client);
    await ask(worker, 'drained');
  }
  await quit(worker);
}

function worker() {
  let drained;
  obey({
    async listen({ form }) {
      const server = net.createServer((socket) => {
        drained = once(socket, 'close');
        socket.resume().write('1');
        socket.on('error', () => {});
      });
      server.listen(form);
      await outcome(server);
      return server.address();
    },
    drained: () => drained.then(() => true),
  });
}

run(primary, worker);
