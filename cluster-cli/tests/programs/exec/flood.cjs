// Many messages in each direction while the receiver does nothing else, and one that is longer than 64 MiB.
'use strict';
const cluster = require('node:cluster');

const COUNT = 200;
const TEXT = 'x'.repeat(256 << 10);

const block = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
const inOrder = (numbers) => numbers.every((number, at) => number === at) ? 'in order' : 'NOT in order';

if (cluster.isPrimary) {
  const worker = cluster.fork();
  const up = [];
  worker.on('message', (message) => {
    if (message === 'ready') {
      for (let number = 0; number < COUNT; number += 1) worker.send({ number, TEXT });
    } else if (message.down) console.log('down', message.down.length, inOrder(message.down));
    else if (message.long) {
      console.log('long', message.long.length);
      worker.disconnect();
    } else if (up.push(message.number) === COUNT) {
      console.log('up', up.length, inOrder(up));
      worker.send('long');
    } else if (up.length === 1) block(300);
  });
} else {
  const down = [];
  process.on('message', (message) => {
    if (message === 'long') return process.send({ long: 'y'.repeat(64 << 20) });
    if (down.push(message.number) === 1) block(300);
    if (down.length < COUNT) return;
    process.send({ down });
    for (let number = 0; number < COUNT; number += 1) process.send({ number, TEXT });
  });
  process.send('ready');
}
