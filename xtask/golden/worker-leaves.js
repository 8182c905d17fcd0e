'use strict';
// A worker that goes of its own will, with servers open: by disconnect() or by kill().

const cluster = require('node:cluster');
const net = require('node:net');
const { ask, fork, obey, once, outcome, run } = require('./lib.js');

async function primary() {
  const worker = await fork();
  await ask(worker, 'listen');
  await ask(worker, 'listen');
  worker.send({ leave: process.env.GOLDEN_LEAVE });
  await once(worker, 'exit');
}

function worker() {
  obey({
    listen: () => outcome(net.createServer().listen(0, '127.0.0.1')),
  });
  process.on('message', (message) => {
    if (message.leave) cluster.worker[message.leave]();
  });
}

run(primary, worker);
