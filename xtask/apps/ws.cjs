// A `ws` server: heartbeats by an interval, clients closed with 1001 (going away) at SIGTERM.
'use strict';

const { appendFileSync } = require('node:fs');
const { createServer } = require('node:http');
const { setTimeout: sleep } = require('node:timers/promises');
const { WebSocketServer } = require('ws');

const note = (step) => appendFileSync(process.env.SHUTDOWN_LOG, `${step} ${process.pid}\n`);

const server = createServer((request, response) => response.end('ok\n'));
const sockets = new WebSocketServer({ server });

sockets.on('connection', (socket) => {
  socket.isAlive = true;
  socket.on('pong', () => (socket.isAlive = true));
  socket.on('error', console.error);
  socket.on('message', async (data, binary) => {
    await sleep(5); // a query
    socket.send(data, { binary });
  });
});

const heartbeat = setInterval(() => {
  for (const socket of sockets.clients) {
    if (!socket.isAlive) {
      socket.terminate();
      continue;
    }
    socket.isAlive = false;
    socket.ping();
  }
}, 30_000);

process.on('SIGTERM', () => {
  note('handler');
  clearInterval(heartbeat);
  for (const socket of sockets.clients) socket.close(1001, 'going away');
  sockets.close();
  server.close(async () => {
    await sleep(200); // the pool is closed
    note('clean');
  });
});

server.listen(process.env.PORT);
