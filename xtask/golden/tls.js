'use strict';
// Custom server data: the ticket keys of the first worker's TLS server go to all.

const tls = require('node:tls');
const { ask, fork, obey, outcome, quit, run } = require('./lib.js');

async function primary() {
  const workers = [await fork(), await fork()];
  for (const worker of workers) await ask(worker, 'listen', { key: 0x10 + worker.id });
  for (const worker of workers) await ask(worker, 'keys');
  await quit(...workers);
}

function worker() {
  let server;
  obey({
    listen({ key }) {
      server = tls.createServer({ ticketKeys: Buffer.alloc(48, key) }).listen(0, '127.0.0.1');
      return outcome(server);
    },
    keys: () => server.getTicketKeys().toString('hex'),
  });
}

run(primary, worker);
