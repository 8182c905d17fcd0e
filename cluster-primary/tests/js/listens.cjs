// A worker that listens as its primary's messages say, and answers each with one.
'use strict';

const cluster = require('node:cluster');
const dgram = require('node:dgram');
const net = require('node:net');

const servers = new Map();

process.on('message', (order) => {
  const { id, listen, bind, close } = order;
  if (close !== undefined) {
    servers.get(close).close(() => process.send({ closed: close }));
  } else if (listen !== undefined) {
    const server = net.createServer((socket) => socket.end(`${cluster.worker.id}\n`));
    servers.set(id, server);
    server.on('error', (error) => process.send({ id, error: error.code }));
    server.listen(listen, () => process.send({ id, address: server.address() }));
  } else if (bind !== undefined) {
    const { type, options } = bind;
    const socket = dgram.createSocket({ type, reuseAddr: options.reuseAddr });
    servers.set(id, socket);
    socket.on('error', (error) => process.send({ id, error: error.code }));
    socket.on('message', (_, from) => socket.send(`${cluster.worker.id}`, from.port, from.address));
    socket.bind(options, () => process.send({ id, address: socket.address() }));
  }
});
