// A pool of threads by Piscina: at SIGTERM the server is closed, then the pool once its tasks are done.
'use strict';

const { appendFileSync } = require('node:fs');
const { createServer } = require('node:http');
const { setTimeout: sleep } = require('node:timers/promises');
const { Piscina } = require('piscina');

if (Piscina.isWorkerThread) {
  module.exports = async (number) => {
    await sleep(5);
    return number * 2;
  };
} else {
  const note = (step) => appendFileSync(process.env.SHUTDOWN_LOG, `${step} ${process.pid}\n`);

  const pool = new Piscina({ filename: __filename, minThreads: 2, maxThreads: 2 });

  const server = createServer(async (request, response) => {
    const result = await pool.run(21);
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ pid: process.pid, result }));
  });

  process.on('SIGTERM', () => {
    note('handler');
    server.close(async () => {
      await pool.close();
      await sleep(200); // another pool is closed
      note('clean');
      process.exit(0);
    });
  });

  server.listen(process.env.PORT);
}
