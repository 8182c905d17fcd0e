// A server that says which signals it gets. Without an argument it handles none.
'use strict';

const http = require('node:http');

// /slow is answered at this signal.
process.on('SIGUSR2', () => {});
for (const name of process.argv.slice(2)) process.on(name, () => console.log(`got ${name}`));

const server = http.createServer((req, res) => {
  if (req.url === '/slow') {
    process.once('SIGUSR2', () => res.end('slow'));
    console.log(`request ${req.url}`);
    return;
  }
  res.end(String(process.pid));
});
server.listen(0, '127.0.0.1');
