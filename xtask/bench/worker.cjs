// A lean server, for `cargo xtask bench`; unmodified under a Node primary and under ours. Its answer
// says who gave it.
'use strict';
const http = require('node:http');

const answer = `${String(process.pid).padStart(11)}\n`;

const server = http.createServer((request, response) => {
  response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': 12 });
  response.end(answer);
});
const most = Number(process.env.BENCH_MAX_CONNECTIONS || 0);
if (most > 0) server.maxConnections = most;
server.listen(Number(process.env.BENCH_PORT || 0), '0.0.0.0');
