// Logs by pino, whose transport is a worker thread: at SIGTERM the log is flushed before the process ends.
'use strict';

const { appendFileSync } = require('node:fs');
const { createServer } = require('node:http');
const { join } = require('node:path');
const { promisify } = require('node:util');
const { setTimeout: sleep } = require('node:timers/promises');
const pino = require('pino');

const note = (step) => appendFileSync(process.env.SHUTDOWN_LOG, `${step} ${process.pid}\n`);

const logger = pino(
  pino.transport({
    target: 'pino/file',
    options: { destination: join(process.env.DATA_DIR, 'app.log') },
  }),
);

const server = createServer(async (request, response) => {
  logger.info({ url: request.url }, 'request');
  await sleep(10); // a query
  response.end(`${process.pid}\n`);
});

const metrics = setInterval(() => logger.info(process.memoryUsage(), 'memory'), 1000);

process.on('SIGTERM', () => {
  note('handler');
  logger.info('leaving');
  server.close(async () => {
    clearInterval(metrics);
    logger.info('closed');
    await promisify(logger.flush).call(logger);
    note('clean');
    process.exit(0);
  });
});

server.listen(process.env.PORT, () => logger.info('listening'));
