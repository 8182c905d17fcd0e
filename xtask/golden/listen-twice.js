'use strict';
// The same listen twice in one worker: port 0, a known port, a datagram socket's port.

const dgram = require('node:dgram');
const net = require('node:net');
const { ask, fork, freePort, obey, outcome, quit, run } = require('./lib.js');

async function primary() {
  const worker = await fork();
  const host = '127.0.0.1';
  const port = await freePort();
  for (const form of [{ port: 0, address: host }, { port, address: host }]) {
    await ask(worker, 'bind', { form });
    await ask(worker, 'bind', { form });
  }
  // Under SCHED_NONE the second listen on a known port kills a worker of Node 24 and later: it
  // gets two handles of the same key.
  for (const form of [{ port: 0, host }, { port, host }]) {
    await ask(worker, 'listen', { form });
    await ask(worker, 'listen', { form });
  }
  await quit(worker);
}

function worker() {
  obey({
    listen: ({ form }) => outcome(net.createServer().listen(form)),
    bind: ({ form }) => outcome(dgram.createSocket('udp4').bind(form)),
  });
}

run(primary, worker);
