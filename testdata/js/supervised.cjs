// A server that does what the path says: /block/MS keeps the event loop busy for so long, /exit/CODE ends the
// process, /env/NAME tells a variable; anything else is answered with the slot. Ours, not the reference
// page's.
'use strict';

const http = require('node:http');

http.createServer((req, res) => {
  const [, verb, what] = req.url.split('/');
  if (verb === 'block') {
    const until = Date.now() + Number(what);
    while (Date.now() < until);
  }
  if (verb === 'exit') process.exit(Number(what));
  const text = verb === 'env' ? `${process.env[what]}` : `slot ${process.env.CLUSTER_SLOT}`;
  res.writeHead(200, { 'Content-Length': Buffer.byteLength(text), Connection: 'close' });
  res.end(text);
}).listen({ host: '127.0.0.1', port: Number(process.env.PORT || 0) });
