// Koa: `server.close` at SIGTERM; the process ends by itself once nothing keeps it alive.
'use strict';

const { appendFileSync } = require('node:fs');
const { setTimeout: sleep } = require('node:timers/promises');
const { promisify } = require('node:util');
const Koa = require('koa');

const note = (step) => appendFileSync(process.env.SHUTDOWN_LOG, `${step} ${process.pid}\n`);

const app = new Koa();

app.use(async (context) => {
  await sleep(10); // a query
  context.body = { pid: process.pid };
});

const server = app.listen(process.env.PORT);
const metrics = setInterval(() => {}, 1000);

process.once('SIGTERM', async () => {
  note('handler');
  try {
    await promisify(server.close).call(server);
  } catch (error) {
    console.error('server.close:', error.code);
  }
  clearInterval(metrics);
  await sleep(200); // the pool is closed
  note('clean');
});
