'use strict';
// A message larger than what is read at once, of characters that the read's edge cuts.

const { fork, quit, run, until } = require('./lib.js');

async function primary() {
  const worker = await fork();
  const end = until(worker, (message) => message === 'end');
  worker.send({ snow: '☃'.repeat(23_000) });
  worker.send('end');
  await end;
  await quit(worker);
}

function worker() {
  process.on('message', (message) => process.send(message.snow?.length ?? message));
}

run(primary, worker);
