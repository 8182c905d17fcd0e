'use strict';
// Two workers on one port; connections in turn; one worker leaves, the other takes all.

const cluster = require('node:cluster');
const net = require('node:net');
const { ask, fork, hangUp, obey, outcome, quit, run, served } = require('./lib.js');

async function primary() {
  const workers = [await fork(), await fork()];
  let where;
  for (const worker of workers) [where] = await ask(worker, 'listen');
  for (let i = 0; i < 4; i++) await hangUp(await served(where));
  await quit(workers[0]);
  for (let i = 0; i < 2; i++) await hangUp(await served(where));
  await quit(workers[1]);
}

function worker() {
  obey({
    async listen() {
      const server = net.createServer((socket) => {
        socket.on('error', () => {}).resume().write(`${cluster.worker.id}`);
      });
      server.listen(0, '127.0.0.1');
      await outcome(server);
      return server.address();
    },
  });
}

run(primary, worker);
