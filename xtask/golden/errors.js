'use strict';
// Listens that fail: a port in use, an address that is not ours, paths in use and out of reach;
// then one that failed before, once the port is free.

const dgram = require('node:dgram');
const net = require('node:net');
const { ask, fork, listen, obey, once, outcome, quit, run } = require('./lib.js');

async function primary() {
  const worker = await fork();
  const host = '127.0.0.1';
  const server = await listen(net.createServer(), 0, host);
  const form = { port: server.address().port, host };
  const path = await listen(net.createServer(), 'taken.sock');
  const socket = dgram.createSocket('udp4').bind(0, host);
  await once(socket, 'listening');

  await ask(worker, 'listen', { form });
  await ask(worker, 'listen', { form: { port: 22222, host: '192.0.2.1' } });
  await ask(worker, 'listen', { form: { path: 'taken.sock' } });
  await ask(worker, 'listen', { form: { path: 'missing/directory.sock' } });
  await ask(worker, 'bind', { form: { port: socket.address().port, address: host } });
  await ask(worker, 'bind', { form: { port: 22222, address: '192.0.2.1' } });
  socket.close();
  path.close();
  server.close();
  await once(server, 'close');
  // Under SCHED_NONE this kills a worker of Node 24 and later: it holds a handle of that key yet.
  await ask(worker, 'listen', { form });
  await quit(worker);
}

function worker() {
  obey({
    listen: ({ form }) => outcome(net.createServer().listen(form)),
    bind: ({ form }) => outcome(dgram.createSocket('udp4').bind(form)),
  });
}

run(primary, worker);
