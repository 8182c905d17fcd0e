// Node's own http2, without TLS: at SIGTERM no new sessions, and the open ones are closed gracefully.
'use strict';

const { appendFileSync } = require('node:fs');
const { createServer } = require('node:http2');
const { setTimeout: sleep } = require('node:timers/promises');

const note = (step) => appendFileSync(process.env.SHUTDOWN_LOG, `${step} ${process.pid}\n`);

const server = createServer(async (request, response) => {
  await sleep(10); // a query
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ pid: process.pid }));
});

const sessions = new Set();
server.on('session', (session) => {
  sessions.add(session);
  session.on('close', () => sessions.delete(session));
});

const metrics = setInterval(() => {}, 1000);

process.on('SIGTERM', () => {
  note('handler');
  server.close(async () => {
    clearInterval(metrics);
    await sleep(200); // the pool is closed
    note('clean');
    process.exit(0);
  });
  for (const session of sessions) session.close();
});

server.listen(process.env.PORT);
