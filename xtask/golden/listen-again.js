'use strict';
// Close and listen again, on a random port and on a known one; several times the same at once.

const net = require('node:net');
const { ask, fork, freePort, obey, once, outcome, quit, run } = require('./lib.js');

async function primary() {
  const worker = await fork();
  const host = '127.0.0.1';
  const port = await freePort();
  for (const form of [{ port: 0, host }, { port, host }]) {
    await ask(worker, 'listen', { form });
    await ask(worker, 'close');
    await ask(worker, 'listen', { form });
    await ask(worker, 'close');
  }
  await quit(worker);
}

function worker() {
  let server;
  obey({
    listen({ form }) {
      server = net.createServer().listen(form);
      return outcome(server);
    },
    async close() {
      server.close();
      await once(server, 'close');
    },
  });
}

run(primary, worker);
