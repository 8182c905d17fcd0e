// A program that never ends by itself, and takes a second and a half to stop.
'use strict';

const net = require('node:net');
const { setTimeout: sleep } = require('node:timers/promises');

setInterval(() => {}, 100);

process.on('SIGTERM', async () => {
  console.log(`stopping, connected ${process.connected}`);
  await sleep(1500);
  console.log('flushed');
  process.exit(0);
});

net.createServer((socket) => socket.end()).listen(0, '127.0.0.1');
