// Socket.IO over WebSocket alone, as several processes want it: `io.close()` at SIGTERM.
'use strict';

const { appendFileSync } = require('node:fs');
const { createServer } = require('node:http');
const { setTimeout: sleep } = require('node:timers/promises');
const { Server } = require('socket.io');

const note = (step) => appendFileSync(process.env.SHUTDOWN_LOG, `${step} ${process.pid}\n`);

const server = createServer();
const io = new Server(server, { transports: ['websocket'] });

io.on('connection', (socket) => {
  socket.on('echo', async (text, reply) => {
    await sleep(5); // a query
    reply(text);
  });
});

const metrics = setInterval(() => {}, 1000);

process.on('SIGTERM', async () => {
  note('handler');
  clearInterval(metrics);
  await io.close();
  await sleep(200); // the pool is closed
  note('clean');
  process.exit(0);
});

server.listen(process.env.PORT);
