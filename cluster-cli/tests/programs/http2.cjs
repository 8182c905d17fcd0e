// HTTP/2 without TLS. A stream takes a second: its headers come at once, its body in pieces.
'use strict';

const http2 = require('node:http2');

const PIECES = 10;

const server = http2.createServer();
server.on('stream', (stream) => {
  console.log('stream begins');
  stream.respond({ ':status': 200 });
  let pieces = 0;
  const timer = setInterval(() => {
    stream.write(`${pieces} `);
    if (++pieces === PIECES) {
      clearInterval(timer);
      stream.end('end');
    }
  }, 100);
});

if (process.argv[2] === 'handler') {
  process.on('SIGTERM', () => {
    console.log('SIGTERM');
    server.close(() => process.exit(0));
  });
}

server.listen(0, '127.0.0.1');
