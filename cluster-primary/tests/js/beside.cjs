// A worker that exchanges descriptors with its primary, as the primary's messages say.
'use strict';

const dgram = require('node:dgram');
const fs = require('node:fs');
const net = require('node:net');

const say = (message, handle, options) => process.send(message, handle, options);
const orders = {
  // What came, used.
  serve(_, server) {
    server.on('connection', (socket) => socket.end(`served ${server.constructor.name}\n`));
    say('serving');
  },
  answer(_, socket) {
    socket.end(`answered ${socket.constructor.name}\n`);
  },
  echo(_, socket) {
    socket.pipe(socket);
    say('echoing');
  },
  receive(_, socket) {
    socket.on('message', (data, from) => socket.send(`heard ${data}`, from.port, from.address));
    say('receiving');
  },
  // What is sent.
  sendServer({ at }) {
    const server = net.createServer();
    server.listen({ ...at, exclusive: true }, () => {
      say({ port: server.address().port ?? null }, server, () => server.close());
    });
  },
  sendSocket({ keepOpen }) {
    const server = net.createServer((socket) => {
      say('a connection', socket, { keepOpen });
      // Only then, for to end it ends it for the other side too.
      if (keepOpen) orders.goOn = () => socket.end('and from here\n');
    });
    server.listen({ port: 0, host: '127.0.0.1', exclusive: true }, () => say({ port: server.address().port }));
    orders.connections = () => server.getConnections((error, count) => say({ count }));
    orders.close = () => server.close(() => say('closed'));
  },
  sendDatagrams() {
    const socket = dgram.createSocket('udp4');
    socket.bind({ port: 0, address: '127.0.0.1', exclusive: true }, () => {
      say({ port: socket.address().port }, socket);
    });
  },
  // Both at once.
  exchange({ count, size }) {
    const payload = 'x'.repeat(size);
    for (let n = 0; n < count; n++) {
      const socket = net.connect({ path: process.argv[2] }, () => say({ n, payload }, socket));
    }
  },
  take({ n, payload }, socket) {
    socket.destroy();
    say({ took: n, length: payload.length });
  },
  keep({ key }, socket) {
    orders.drop = () => socket.destroy();
    say('kept');
  },
  fds() {
    say({ fds: fs.readdirSync('/proc/self/fd').length });
  },
};

process.on('message', (order, handle) => orders[order.do](order, handle));
say('ready');
