'use strict';
// `accepted: false`: a worker that has closed the server, and one that is full.

const cluster = require('node:cluster');
const net = require('node:net');
const { ask, fork, hangUp, obey, once, outcome, quit, run, served } = require('./lib.js');

async function primary() {
  const workers = [await fork(), await fork()];
  let where;
  [where] = await ask(workers[0], 'listen', { most: 1 });
  await ask(workers[1], 'listen');
  // The first worker takes one and is full: the third connection is refused there.
  const clients = [];
  for (let i = 0; i < 3; i++) clients.push(await served(where));
  for (const client of clients) await hangUp(client);
  // The last worker of the key closes it before it sees the connection that it got.
  await ask(workers[1], 'block', { ms: 0 });
  const blocked = ask(workers[0], 'block', { ms: 300 });
  await once(workers[0], 'message');
  const refused = net.connect(where).on('error', () => {});
  // Nobody closes the connection: the primary queues it again at a socket that is gone.
  await blocked;
  await ask(workers[0], 'ping');
  refused.destroy();
  await quit(...workers);
}

function worker() {
  let server;
  obey({
    async listen({ most }) {
      server = net.createServer((socket) => {
        socket.on('error', () => {}).resume().write(`${cluster.worker.id}`);
      });
      server.maxConnections = most;
      server.listen(0, '127.0.0.1');
      await outcome(server);
      return server.address();
    },
    ping() {},
    block({ ms }) {
      process.send('blocked');
      const until = Date.now() + ms;
      while (Date.now() < until);
      server.close();
    },
  });
}

run(primary, worker);
