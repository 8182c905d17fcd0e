'use strict';

// A server of the kind given as argument, driven by IPC messages of the test.
//   /        answers at once          /hold    answers after the message 'release'
//   /keep    sets keep-alive itself   /stream  sends its header, ends after 'release'
//   /early   answers 401 without reading the request's body
// 'release-last' answers only the request that was held last.

const fs = require('node:fs');
const path = require('node:path');

const kind = process.argv[2];
const file = (name) => fs.readFileSync(path.join(__dirname, '../fixtures', name));
const tlsOptions = () => ({ key: file('key.pem'), cert: file('cert.pem') });
const held = new Set();

function handle(req, res) {
  res.setHeader('X-Pid', process.pid);
  if (req.url === '/hold') {
    held.add(() => res.end('held'));
    process.send({ held: held.size });
  } else if (req.url === '/stream') {
    res.write('part');
    held.add(() => res.end('end'));
    process.send({ held: held.size });
  } else if (req.url === '/early') {
    res.statusCode = 401;
    res.end('no');
  } else if (req.url === '/keep') {
    res.writeHead(200, { Connection: 'keep-alive', 'Keep-Alive': 'timeout=99', 'X-Own': '1' });
    res.end('keep');
  } else if (req.url === '/keep-later') {
    held.add(() => {
      res.setHeader('Connection', 'keep-alive, X-Own');
      res.end('keep');
    });
    process.send({ held: held.size });
  } else {
    res.end('ok');
  }
}

const kinds = {
  http: () => require('node:http').createServer(handle),
  https: () => require('node:https').createServer(tlsOptions(), handle),
  http2: () => require('node:http2').createSecureServer({ ...tlsOptions(), allowHTTP1: true }, handle),
  h2c: () => require('node:http2').createServer(handle),
  net: () => require('node:net').createServer((socket) => socket.on('error', () => {}).write('hello\n')),
  subclass: () => {
    const http = require('node:http');
    class Application extends http.Server {
      constructor() {
        super();
        this.on('request', handle);
      }
    }
    return new Application();
  },
  upgrade: () => kinds.http().on('upgrade', (req, socket) => {
    socket.on('error', () => {}).on('end', () => socket.end()).resume().write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n');
  }).on('connect', (req, socket) => {
    socket.on('error', () => {}).on('end', () => socket.end()).resume().write('HTTP/1.1 200 OK\r\n\r\n');
  }),
};

let server;
const where = () => (process.argv[3] === 'shared'
  ? { port: 0, host: '127.0.0.1' }
  : process.argv[3] ? { path: process.argv[3], exclusive: true } : { port: 0, host: '127.0.0.1', exclusive: true });

function listen() {
  server = kinds[kind.replace('later-', '')]();
  server.listen(where(), () => {
    const address = server.address();
    process.send({ port: address.port ?? 0, path: typeof address === 'string' ? address : undefined });
  });
  server.on('session', () => process.send({ session: true }));
}

const commands = {
  listen,
  release() {
    for (const release of held) release();
    held.clear();
  },
  'release-last'() {
    const release = [...held].pop();
    held.delete(release);
    release();
    process.send({ released: held.size });
  },
  state: () => process.send({
    state: { listening: server.listening, address: server.address(), connected: process.connected },
  }),
  close: () => {
    server.close((error) => process.send({ closed: error ? error.code : null }));
  },
  'listen-signal': () => {
    process.on('SIGTERM', () => {});
    process.send({ listens: true });
  },
  pid: () => process.send({ pid: process.pid }),
  block: () => {
    const end = Date.now() + 300;
    while (Date.now() < end);
  },
};

process.on('message', (message, handle) => {
  // As sticky-session libraries pass connections on.
  if (message === 'connection') server.emit('connection', handle);
  else commands[message]?.();
});
if (!kind.startsWith('later-')) listen();
else process.send({ ready: true });
