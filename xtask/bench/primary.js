// Node's own primary, for `cargo xtask bench`: primary.js WORKERS. Says what it does in the words of
// `cluster run --json`.
'use strict';
const cluster = require('node:cluster');
const path = require('node:path');

cluster.schedulingPolicy = cluster.SCHED_RR;
cluster.setupPrimary({ exec: path.join(__dirname, 'worker.js'), args: [] });

const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
cluster.on('fork', (worker) => say({ type: 'fork', worker: worker.id, pid: worker.process.pid }));
cluster.on('listening', (worker, address) => say({ type: 'listening', worker: worker.id, address }));
cluster.on('exit', (worker, code, signal) => say({ type: 'exit', worker: worker.id, code, signal }));

for (let n = Number(process.argv[2]); n > 0; n--) cluster.fork();
