'use strict';
// What the scripts of the recordings share. Every script is both primary and worker.

const cluster = require('node:cluster');
const net = require('node:net');
const { once } = require('node:events');

// Starts a worker behind the recorder's relay, and waits until it is online.
// Node's cluster has no `execPath` of its own: it takes the process's.
async function fork(env) {
  cluster.setupPrimary({
    execArgv: ['relay'],
    serialization: process.env.GOLDEN_SERIALIZATION,
  });
  const node = process.execPath;
  process.execPath = process.env.GOLDEN_RELAY;
  try {
    const worker = cluster.fork({ ...env, GOLDEN_NODE: node });
    await once(worker, 'online');
    worker.gone = once(worker, 'exit').then(() => []);
    return worker;
  } finally {
    process.execPath = node;
  }
}

// Runs the side of the script that this process is. A primary that ends before its script does,
// because nothing more can happen, fails.
function run(primary, worker) {
  if (!cluster.isPrimary) {
    worker();
    return;
  }
  process.exitCode = 1;
  primary().then(() => {
    process.exitCode = 0;
  });
}

// Gives a worker an order and waits for its result; `[result, handle]`, empty if it dies instead.
async function ask(worker, order, more, handle, options) {
  const reply = until(worker, (message) => message.did === order);
  worker.send({ do: order, ...more }, handle, options);
  const [message, returned] = await Promise.race([reply, worker.gone]);
  return message ? [message.result, returned] : [];
}

// The first message that is wanted, and its handle; several may come in one tick.
function until(worker, wanted) {
  return new Promise((resolve) => {
    worker.on('message', function look(message, handle) {
      if (!wanted(message)) return;
      worker.off('message', look);
      resolve([message, handle]);
    });
  });
}

// The worker's side of `ask`: a table of orders.
function obey(orders) {
  process.on('message', async (message, handle) => {
    if (message === null || typeof message !== 'object' || !message.do) return;
    const result = await orders[message.do](message, handle);
    process.send({ did: message.do, result: result ?? null });
  });
}

async function quit(...workers) {
  const living = workers.filter((worker) => worker.isConnected());
  for (const worker of living) worker.disconnect();
  await Promise.all(living.map((worker) => worker.gone));
}

// A client's connection that has been answered with one byte by whoever serves it.
async function served(where) {
  const client = net.connect(where);
  const [data] = await once(client, 'data');
  client.by = data.toString();
  return client;
}

async function hangUp(client) {
  const closed = once(client, 'close');
  client.destroy();
  await closed;
}

async function listen(server, ...where) {
  server.listen(...where);
  await once(server, 'listening');
  return server;
}

async function freePort() {
  const server = await listen(net.createServer(), 0, '127.0.0.1');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

// The error that a server or datagram socket meets, if it meets one.
function outcome(emitter) {
  return new Promise((resolve) => {
    emitter.once('listening', () => resolve('listening'));
    emitter.once('error', (error) => resolve(error.code));
  });
}

module.exports = { ask, fork, freePort, hangUp, listen, obey, once, outcome, quit, run, served, until };
