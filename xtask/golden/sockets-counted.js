'use strict';
// A net.Socket that a net.Server accepted: it carries the server's key, and the two sides keep
// the server's count of connections true.

const net = require('node:net');
const { promisify } = require('node:util');
const { ask, fork, listen, obey, once, quit, run } = require('./lib.js');

async function primary() {
  const worker = await fork();
  const server = await listen(net.createServer({ pauseOnConnect: true }), 0, '127.0.0.1');
  const count = promisify(server.getConnections.bind(server));
  const clients = [];
  const accept = async () => {
    clients.push(net.connect(server.address().port, '127.0.0.1').on('error', () => {}));
    return (await once(server, 'connection'))[0];
  };

  await ask(worker, 'take', {}, await accept());
  await count();
  const kept = await accept();
  await ask(worker, 'take', {}, kept, { keepOpen: true });
  await count();
  await ask(worker, 'drop');
  await count();
  const drained = once(server, 'close');
  server.close();
  await ask(worker, 'drop');
  await drained;
  kept.destroy();

  // The other way round: a connection of the worker's own server.
  const [where] = await ask(worker, 'serve');
  const client = net.connect(where);
  const [, socket] = await once(worker, 'message');
  await ask(worker, 'count');
  const closed = ask(worker, 'close');
  socket.destroy();
  await closed;
  client.destroy();
  for (const each of clients) each.destroy();
  await quit(worker);
}

function worker() {
  const sockets = [];
  let server;
  obey({
    take(_, socket) {
      sockets.push(socket);
    },
    async drop() {
      const socket = sockets.shift();
      const closed = once(socket, 'close');
      socket.destroy();
      await closed;
    },
    async serve() {
      server = net.createServer({ pauseOnConnect: true }, (socket) => {
        process.send({ accepted: true }, socket);
      });
      await listen(server, 0, '127.0.0.1');
      return server.address();
    },
    count: () => promisify(server.getConnections.bind(server))(),
    async close() {
      server.close();
      await once(server, 'close');
    },
  });
}

run(primary, worker);
