// A database file that all workers share, by better-sqlite3: at SIGTERM it is checkpointed and closed.
'use strict';

const { appendFileSync } = require('node:fs');
const { createServer } = require('node:http');
const { join } = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');
const Database = require('better-sqlite3');

const note = (step) => appendFileSync(process.env.SHUTDOWN_LOG, `${step} ${process.pid}\n`);

const database = new Database(join(process.env.DATA_DIR, 'app.db'));
database.pragma('journal_mode = WAL');
database.exec('CREATE TABLE IF NOT EXISTS visits (pid INTEGER PRIMARY KEY, count INTEGER)');
const visit = database.prepare(
  'INSERT INTO visits VALUES (?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count',
);
const total = database.prepare('SELECT sum(count) AS visits FROM visits');

let visits = 0;
const flush = () => {
  visit.run(process.pid, visits);
  visits = 0;
};
const flushes = setInterval(flush, 1000);

const server = createServer(async (request, response) => {
  visits += 1;
  await sleep(10);
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(total.get()));
});

process.on('SIGTERM', () => {
  note('handler');
  server.close(async () => {
    clearInterval(flushes);
    flush();
    database.pragma('wal_checkpoint(PASSIVE)');
    database.close();
    await sleep(200); // another pool is closed
    note('clean');
    process.exit(0);
  });
});

server.listen(process.env.PORT);
