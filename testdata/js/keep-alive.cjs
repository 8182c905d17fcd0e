// Answers with the worker's process id, on an address of its own choice: `node keep-alive.cjs 8000`, or a
// path. Ours, not the reference page's.
'use strict';

const http = require('node:http');

const at = process.argv[2] || '0';
const body = `${process.pid}\n`;

const server = http.createServer((req, res) => {
  res.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': body.length });
  res.end(body);
});
// Longer than any test: who closes a connection is the reload, not the clock.
server.keepAliveTimeout = 600_000;
server.listen(/^\d+$/.test(at) ? { host: '0.0.0.0', port: Number(at) } : at);
