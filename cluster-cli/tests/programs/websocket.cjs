// A WebSocket server (RFC 6455) that says hello to each client, and closes all of them with code 1001 when it
// is asked to stop, as servers on `ws` do.
'use strict';

const { createHash } = require('node:crypto');
const http = require('node:http');

const TEXT = 0x81;
const CLOSE = 0x88;

function frame(type, payload) {
  return Buffer.concat([Buffer.from([type, payload.length]), payload]);
}

const clients = new Set();
const server = http.createServer((req, res) => res.end(String(process.pid)));

server.on('upgrade', (req, socket) => {
  const accept = createHash('sha1')
    .update(`${req.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
    `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.write(frame(TEXT, Buffer.from(`hello from ${process.pid}`)));
  clients.add(socket);
  socket.on('close', () => clients.delete(socket));
  socket.on('error', () => {});
  // The only thing that a client sends is its answer to a close frame.
  socket.on('data', () => socket.end());
});

process.on('SIGTERM', () => {
  console.log(`closing ${clients.size} clients`);
  server.close(() => console.log('all clients are gone'));
  const code = Buffer.alloc(2);
  code.writeUInt16BE(1001);
  for (const socket of clients) socket.write(frame(CLOSE, code));
});

server.listen(0, '127.0.0.1');
