// Express: `server.close` at SIGTERM, then the clean-up, then `process.exit`.
'use strict';

const { appendFileSync } = require('node:fs');
const { setTimeout: sleep } = require('node:timers/promises');
const express = require('express');

const note = (step) => appendFileSync(process.env.SHUTDOWN_LOG, `${step} ${process.pid}\n`);

const app = express();
let requests = 0;

app.get('/', async (request, response) => {
  requests += 1;
  await sleep(10); // a query
  response.json({ pid: process.pid });
});

const server = app.listen(process.env.PORT);
const metrics = setInterval(() => (requests = 0), 1000);

process.on('SIGTERM', () => {
  note('handler');
  server.close(async () => {
    clearInterval(metrics);
    await sleep(200); // the pool is closed
    note('clean');
    process.exit(0);
  });
});
