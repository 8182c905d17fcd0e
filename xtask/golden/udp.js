'use strict';
// Datagram sockets in every form that reaches the primary; `exclusive` and `reusePort` do not.

const dgram = require('node:dgram');
const { ask, fork, obey, once, outcome, quit, run } = require('./lib.js');

async function primary() {
  const workers = [await fork(), await fork()];
  const forms = [
    [{ type: 'udp4' }, {}],
    [{ type: 'udp4', reuseAddr: true }, { port: 0, address: '127.0.0.1' }],
    [{ type: 'udp6' }, { port: 0, address: '::1' }],
    [{ type: 'udp6', ipv6Only: true }, { port: 0 }],
    [{ type: 'udp6', ipv6Only: true, reuseAddr: true }, { port: 0, address: '::1' }],
    [{ type: 'udp4', reusePort: true }, { port: 0, address: '127.0.0.1' }],
    [{ type: 'udp4' }, { port: 0, address: '127.0.0.1', exclusive: true }],
  ];
  for (const [type, form] of forms) {
    for (const worker of workers) await ask(worker, 'bind', { type, form });
    for (const worker of workers) await ask(worker, 'close');
  }
  await quit(...workers);
}

function worker() {
  let socket;
  obey({
    bind({ type, form }) {
      socket = dgram.createSocket(type).bind(form);
      return outcome(socket);
    },
    async close() {
      socket.close();
      await once(socket, 'close');
    },
  });
}

run(primary, worker);
