'use strict';
// The relay loses a descriptor. GOLDEN_LOST says what rides on it.

const net = require('node:net');
const { ask, fork, listen, obey, once, quit, run } = require('./lib.js');

// Plain messages behind each handle show when the sender's queue moves on.
async function primary() {
  // Node's own second answer to a handle that was sent again kills the one it answers.
  process.on('uncaughtException', (error) => console.error(`primary: ${error.stack}`));
  process.on('warning', (warning) => console.error(`primary: ${warning}`));
  const worker = await fork();
  worker.on('message', (message) => console.error('primary has', message));
  const server = await listen(net.createServer((peer) => peer.on('error', () => {})), 0);
  const pause = () => new Promise((resolve) => setTimeout(resolve, 200));

  if (process.env.GOLDEN_LOST === 'down') {
    const socket = net.connect(server.address().port);
    await once(socket, 'connect');
    worker.send('before');
    worker.send({ take: 'socket' }, socket);
    worker.send('after');
    await pause();
    worker.send('later');
  } else if (process.env.GOLDEN_LOST === 'server') {
    worker.send({ take: 'server' }, server);
    worker.send('after');
  } else if (process.env.GOLDEN_LOST === 'up') {
    worker.send({ do: 'up', port: server.address().port });
  } else {
    worker.send({ do: 'listen' });
    const [address] = await Promise.race([once(worker, 'listening'), pause().then(() => [])]);
    if (address) {
      const client = net.connect(address.port, '127.0.0.1').on('error', () => {});
      await pause();
      const second = net.connect(address.port, '127.0.0.1').on('error', () => {});
      await pause();
      client.destroy();
      second.destroy();
    }
  }
  await pause();
  if (worker.isConnected()) await quit(worker);
  process.exit(0);
}

function worker() {
  process.on('uncaughtException', (error) => console.error(`worker: ${error.stack}`));
  process.on('message', (message, handle) => {
    console.error('worker has', message, handle?.constructor.name);
    if (message.take) process.send({ took: message.take, handle: handle?.constructor.name });
    handle?.on?.('error', () => {});
  });
  obey({
    async up({ port }) {
      const socket = net.connect(port);
      await once(socket, 'connect');
      process.send({ take: 'socket' }, socket);
      process.send('after');
    },
    listen() {
      net.createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1');
    },
  });
}

run(primary, worker);
