// Server-sent events without end, until the program is asked to stop: then each stream gets a last one.
'use strict';

const http = require('node:http');

const streams = new Set();
const server = http.createServer((req, res) => {
  res.writeHead(200, { 'Content-Type': 'text/event-stream' });
  res.write('data: first\n\n');
  streams.add(res);
  res.on('close', () => streams.delete(res));
});

process.on('SIGTERM', () => {
  console.log(`ending ${streams.size} streams`);
  server.close();
  for (const res of streams) res.end('event: bye\n\n');
});

server.listen(0, '127.0.0.1');
