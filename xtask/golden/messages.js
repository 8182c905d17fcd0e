'use strict';
// User messages of every kind, each echoed by the worker.

const { fork, once, quit, run } = require('./lib.js');
const values = require('./values.js');

const advanced = process.env.GOLDEN_SERIALIZATION === 'advanced';

async function primary() {
  const worker = await fork();
  for (const value of advanced ? values.advanced() : values.json()) {
    const echo = once(worker, 'message');
    worker.send(value);
    await echo;
  }
  // Internal by its name, so no user ever sees it; nor does anybody answer.
  worker.send({ cmd: 'NODE_UNHEARD', x: 1 });
  const echo = once(worker, 'message');
  worker.send('last');
  await echo;
  await quit(worker);
}

function worker() {
  process.on('message', (message) => process.send(message));
}

run(primary, worker);
