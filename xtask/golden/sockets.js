'use strict';
// A net.Socket by user message, that no server knows: down and up, kept open or not.

const net = require('node:net');
const { ask, fork, listen, obey, once, quit, run } = require('./lib.js');

async function primary() {
  const worker = await fork();
  const server = await listen(net.createServer((peer) => peer.on('error', () => {})), 0);
  const sockets = [];
  for (const options of [undefined, { keepOpen: false }, { keepOpen: true }]) {
    const socket = net.connect(server.address().port);
    await once(socket, 'connect');
    const [, returned] = await ask(worker, 'echo', { options }, socket, options);
    sockets.push(socket, returned);
  }
  await quit(worker);
  for (const socket of sockets) socket.destroy();
  server.close();
}

function worker() {
  process.on('message', (message, socket) => {
    if (message.do !== 'echo') return;
    process.send({ did: 'echo', result: message.options ?? null }, socket, message.options);
    if (message.options?.keepOpen) socket.destroy();
  });
}

run(primary, worker);
