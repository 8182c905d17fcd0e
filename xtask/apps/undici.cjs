// Each request asks an upstream service by an undici Pool: at SIGTERM the server is closed, then the Pool.
'use strict';

const { appendFileSync } = require('node:fs');
const { createServer } = require('node:http');
const { setTimeout: sleep } = require('node:timers/promises');
const { Pool } = require('undici');

const note = (step) => appendFileSync(process.env.SHUTDOWN_LOG, `${step} ${process.pid}\n`);

const upstream = new Pool(process.env.UPSTREAM, { connections: 8 });

const server = createServer(async (request, response) => {
  try {
    const { body } = await upstream.request({ path: '/', method: 'GET' });
    response.end(await body.text());
  } catch (error) {
    response.statusCode = 502;
    response.end(`${error.message}\n`);
  }
});

const probe = setInterval(async () => {
  const { body } = await upstream.request({ path: '/health', method: 'GET' });
  await body.dump();
}, 1000);

process.on('SIGTERM', () => {
  note('handler');
  server.close(async () => {
    clearInterval(probe);
    await upstream.close();
    await sleep(200); // the queue's connection is closed
    note('clean');
    process.exit(0);
  });
});

server.listen(process.env.PORT);
