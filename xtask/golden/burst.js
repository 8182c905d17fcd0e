'use strict';
// Many messages at once around handles, read late: several frames in a chunk.

const net = require('node:net');
const { fork, listen, once, quit, run, until } = require('./lib.js');

async function primary() {
  const worker = await fork();
  const server = await listen(net.createServer(), 0, '127.0.0.1');
  const sockets = [];
  for (let i = 0; i < 2; i++) {
    sockets.push(net.connect(server.address().port, '127.0.0.1'));
    await once(sockets[i], 'connect');
  }
  const end = until(worker, (message) => message === 'end');
  for (let i = 0; i < 5; i++) worker.send({ before: i });
  worker.send({ socket: 0 }, sockets[0]);
  for (let i = 0; i < 5; i++) worker.send({ between: i });
  worker.send({ socket: 1 }, sockets[1]);
  for (let i = 0; i < 5; i++) worker.send({ after: i });
  worker.send('end');
  await end;
  await quit(worker);
  server.close();
}

function worker() {
  process.on('message', (message, socket) => {
    socket?.destroy();
    process.send(message);
  });
}

run(primary, worker);
