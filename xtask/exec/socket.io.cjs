// socket.io with its sticky module, which sends accepted sockets to workers, and its cluster adapter: a message to all
// reaches every client, whichever worker it is at.
'use strict';
const cluster = require('node:cluster');
const http = require('node:http');
const { createAdapter, setupPrimary } = require('@socket.io/cluster-adapter');
const { setupMaster, setupWorker } = require('@socket.io/sticky');
const { Server } = require('socket.io');

const WORKERS = 3;
const CLIENTS = 6;

if (cluster.isPrimary) {
  const server = http.createServer();
  setupMaster(server, { loadBalancingMethod: 'least-connection' });
  setupPrimary();
  cluster.setupPrimary({ serialization: 'advanced' });
  for (let n = 0; n < WORKERS; n += 1) cluster.fork();
  let ready = 0;
  cluster.on('message', (_, message) => {
    if (message === 'ready' && ++ready === WORKERS) server.listen(0, () => connect(server.address().port));
  });
} else {
  const server = http.createServer();
  const io = new Server(server);
  io.adapter(createAdapter());
  setupWorker(io);
  io.on('connection', (socket) => socket.on('all', () => io.emit('news')));
  process.send('ready');
}

function connect(port) {
  const { io } = require('socket.io-client');
  let connected = 0;
  let reached = 0;
  const clients = Array.from({ length: CLIENTS }, (_, n) => {
    const transports = [n % 2 ? 'websocket' : 'polling'];
    const client = io(`http://127.0.0.1:${port}`, { transports, forceNew: true });
    client.on('connect', () => {
      if (++connected === CLIENTS) client.emit('all');
    });
    client.on('news', () => {
      if (++reached < CLIENTS) return;
      console.log(`reached ${reached} of ${CLIENTS}`);
      clients.forEach((each) => each.close());
      process.exit();
    });
    return client;
  });
}
