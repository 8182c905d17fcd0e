// A server that does what the path says: /block/MS keeps the event loop busy for so long, /exit/CODE ends the
// process, /env/NAME tells a variable, /disconnect is answered and then disconnects the worker, /linger does the
// same and keeps the process; anything else is answered with the slot. Ours, not the reference page's.
'use strict';

const cluster = require('node:cluster');
const http = require('node:http');

http.createServer((req, res) => {
  const [, verb, what] = req.url.split('/');
  if (verb === 'block') {
    const until = Date.now() + Number(what);
    while (Date.now() < until);
  }
  if (verb === 'exit') process.exit(Number(what));
  if (verb === 'linger') setInterval(() => {}, 1000);
  if (verb === 'linger' || verb === 'disconnect') res.on('finish', () => cluster.worker.disconnect());
  const text = verb === 'env' ? `${process.env[what]}` : `slot ${process.env.CLUSTER_SLOT}`;
  res.writeHead(200, { 'Content-Length': Buffer.byteLength(text), Connection: 'close' });
  res.end(text);
}).listen({ host: '127.0.0.1', port: Number(process.env.PORT || 0) });
