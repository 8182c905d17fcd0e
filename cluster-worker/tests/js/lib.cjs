// What the Node primaries of the tests have in common: how they start the Rust worker, and talk to it.
// usage: node SCRIPT BINARY SCENARIO POLICY FOLDER
'use strict';
const assert = require('node:assert');
const cluster = require('node:cluster');
const { once } = require('node:events');

const [binary, asked, policy, folder] = process.argv.slice(2);
const [scenario, serialization] = asked.split('+');
cluster.schedulingPolicy = policy === 'rr' ? cluster.SCHED_RR : cluster.SCHED_NONE;

// cluster.fork() takes no execPath, and starts this one.
function fork(...args) {
  cluster.setupPrimary({ exec: 'script', args, execArgv: [], serialization });
  const node = process.execPath;
  process.execPath = binary;
  try {
    const worker = cluster.fork();
    worker.log = [];
    worker.waiting = [];
    worker.on('message', (message, handle) => {
      const waiting = worker.waiting.shift();
      if (waiting) waiting([message, handle]);
      else worker.log.push([message, handle]);
    });
    worker.gone = once(worker, 'exit');
    worker.unlinked = once(worker, 'disconnect');
    return worker;
  } finally {
    process.execPath = node;
  }
}

// The worker's next message, and what came with it.
function received(worker) {
  if (worker.log.length) return Promise.resolve(worker.log.shift());
  return new Promise((resolve) => worker.waiting.push(resolve));
}

async function message(worker) {
  return (await received(worker))[0];
}

async function ask(worker, order, handle, options) {
  worker.send(order, handle, options);
  return message(worker);
}

async function exits(worker, code, voluntarily) {
  const [status] = await Promise.all([worker.gone, worker.unlinked]);
  assert.deepStrictEqual(status, [code, null]);
  assert.strictEqual(worker.exitedAfterDisconnect, voluntarily);
}

function run(scenarios) {
  scenarios[scenario]().then(
    () => {
      assert.deepStrictEqual(Object.keys(cluster.workers), []);
      process.exit(0);
    },
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
}

module.exports = { ask, exits, folder, fork, message, policy, received, run };
