// A server whose event loop blocks when a client says so, until a file is there.
'use strict';

const cluster = require('node:cluster');
const fs = require('node:fs');
const net = require('node:net');

const clock = new Int32Array(new SharedArrayBuffer(4));

net
  .createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (data) => {
      if (data[0] === 'b'.charCodeAt(0)) {
        socket.write(`${cluster.worker.id}\n`);
        while (!fs.existsSync(process.env.RELEASE)) Atomics.wait(clock, 0, 0, 5);
      }
      socket.end(`${cluster.worker.id}\n`);
    });
  })
  .listen(0, '127.0.0.1');
