// A UDP port that comes out of the environment, as a string. Prints what a client was answered.
'use strict';
const cluster = require('node:cluster');
const dgram = require('node:dgram');

if (cluster.isPrimary) {
  const probe = dgram.createSocket('udp4').bind(0, '127.0.0.1', () => {
    const { port } = probe.address();
    probe.close(() => {
      const worker = cluster.fork({ PORT: port });
      worker.on('listening', (address) => {
        const client = dgram.createSocket('udp4');
        client.on('message', (text) => {
          console.log(String(text), typeof address.port, address.addressType);
          client.close();
          worker.kill();
        });
        client.send('hello', port, '127.0.0.1');
      });
      worker.on('exit', (code, signal) => console.log('exit', code, signal));
    });
  });
} else {
  const socket = dgram.createSocket('udp4');
  socket.on('message', (text, from) => socket.send(`${text} back`, from.port, from.address));
  socket.bind({ port: process.env.PORT, address: '127.0.0.1' });
}
