// Runs a worker that is no JavaScript: two of it, and says what they say.
'use strict';
const cluster = require('node:cluster');
const path = require('node:path');

const binary = process.argv[2] && path.resolve(process.argv[2]);
if (!binary) {
  console.error('usage: node primary.cjs BINARY');
  process.exit(2);
}
cluster.setupPrimary({ exec: binary, args: process.argv.slice(3), execArgv: [] });

// cluster.fork() takes no execPath, and starts this one.
function fork() {
  const node = process.execPath;
  process.execPath = binary;
  try {
    return cluster.fork();
  } finally {
    process.execPath = node;
  }
}

for (let i = 0; i < 2; i++) fork();
cluster.on('listening', (worker, { address, port }) => {
  console.log(`worker ${worker.id} listens on ${address}:${port}`);
});
cluster.on('message', (worker, message) => {
  console.log(`worker ${worker.id} says`, message);
});
cluster.on('exit', (worker, code, signal) => {
  console.log(`worker ${worker.id} exits with ${signal ?? code}`);
});
// Ctrl-C goes to the workers too; SIGTERM to this process alone.
process.on('SIGTERM', () => cluster.disconnect());
