// Node's own primary (and Bun's), for `cargo xtask bench`: primary.cjs WORKERS. Says what it does in
// the words of `cluster run --json`. BENCH_EXEC_PATH names a program that its workers are instead.
'use strict';
const cluster = require('node:cluster');
const path = require('node:path');

cluster.setupPrimary({ exec: path.join(__dirname, 'worker.cjs'), args: [] });

const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
cluster.on('fork', (worker) => say({ type: 'fork', worker: worker.id, pid: worker.process.pid }));
cluster.on('listening', (worker, address) => say({ type: 'listening', worker: worker.id, address }));
cluster.on('exit', (worker, code, signal) => say({ type: 'exit', worker: worker.id, code, signal }));

const own = process.execPath;
// Node's cluster passes no `execPath` on: it takes the process's own.
process.execPath = process.env.BENCH_EXEC_PATH || own;
for (let n = Number(process.argv[2]); n > 0; n--) cluster.fork();
process.execPath = own;
