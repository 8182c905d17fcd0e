'use strict';
// Every other handle that a user message can carry: net.Server, dgram.Socket, a bare handle,
// and net.BoundSocket where there is one.

const dgram = require('node:dgram');
const net = require('node:net');
const { ask, fork, listen, once, quit, run } = require('./lib.js');

async function primary() {
  const worker = await fork();
  const server = await listen(net.createServer(), 0, '127.0.0.1');
  const handles = [server, server._handle];
  for (const type of ['udp4', 'udp6']) {
    const socket = dgram.createSocket(type).bind(0);
    await once(socket, 'listening');
    handles.push(socket);
  }
  const returned = [];
  for (const handle of handles) {
    returned.push((await ask(worker, 'echo', { named: handle.constructor.name }, handle))[1]);
  }
  // Node 24 has the class but does not send it.
  if (parseInt(process.versions.node) >= 26) {
    const bound = new net.BoundSocket({ host: '127.0.0.1', port: 0 });
    returned.push((await ask(worker, 'echo', { named: 'BoundSocket' }, bound))[1]);
  }
  // A worker listens on a received Unix-domain server by a query that names its own number of
  // the descriptor, of which the primary can make nothing.
  const path = await listen(net.createServer(), 'sent.sock');
  handles.push(path);
  await ask(worker, 'echo', { named: 'pipe' }, path);
  await quit(worker);
  for (const handle of [...handles, ...returned]) handle.close();
}

function worker() {
  const kept = [];
  process.on('uncaughtException', ({ syscall }) => {
    process.send({ did: 'echo', result: syscall });
  });
  process.on('message', (message, handle) => {
    if (message.do !== 'echo') return;
    kept.push(handle);
    process.send({ did: 'echo', result: handle.constructor.name }, handle);
  });
}

run(primary, worker);
