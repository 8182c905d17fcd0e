// A lean server, for `cargo xtask bench`; unmodified under a Node primary and under ours.
'use strict';
const http = require('node:http');

http.createServer((request, response) => {
  response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': 12 });
  response.end('hello world\n');
}).listen(0, '0.0.0.0');
