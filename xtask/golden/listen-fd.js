'use strict';
// listen({fd}) and bind({fd}): the number means a descriptor of the primary.

const dgram = require('node:dgram');
const net = require('node:net');
const { ask, fork, obey, outcome, quit, run } = require('./lib.js');

async function primary() {
  const worker = await fork();
  await ask(worker, 'listen', { fd: +process.env.GOLDEN_TCP_FD });
  await ask(worker, 'listen', { fd: +process.env.GOLDEN_PIPE_FD, backlog: 16 });
  await ask(worker, 'bind', { fd: +process.env.GOLDEN_UDP_FD });
  await ask(worker, 'listen', { fd: 99 });
  await quit(worker);
}

function worker() {
  obey({
    listen({ fd, backlog }) {
      const server = net.createServer();
      server.listen({ fd, backlog });
      return outcome(server);
    },
    bind({ fd }) {
      const socket = dgram.createSocket('udp4');
      socket.bind({ fd });
      return outcome(socket);
    },
  });
}

run(primary, worker);
