// An HTTP server whose responses take their time. / takes 50 ms, /MS that many milliseconds, and /never
// has no end. The first argument names what the program does when it is asked to stop.
'use strict';

const http = require('node:http');

const body = String(process.pid);

const server = http.createServer((req, res) => {
  const path = req.url.slice(1);
  if (path !== '') console.log(`request ${req.url}`);
  if (path === 'never') return;
  setTimeout(() => {
    res.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': body.length });
    res.end(body);
  }, path === '' ? 50 : Number(path));
});
// Longer than any test.
server.keepAliveTimeout = 600_000;

// What a handler finds: its servers, its channel, its clients.
function state() {
  return `listening ${server.listening}, connected ${process.connected}`;
}

function onSignal(name, handler) {
  process.on(name, () => {
    console.log(`${name}: ${state()}`);
    handler();
  });
}

const closeAndExit = () => server.close((error) => process.exit(error ? 1 : 0));

const stops = {
  // Leaves everything to node:cluster.
  none() {
    process.on('disconnect', () => console.log('disconnected'));
  },
  close() {
    onSignal('SIGTERM', closeAndExit);
  },
  'close-and-send'() {
    onSignal('SIGTERM', () => {
      closeAndExit();
      process.send('bye');
    });
  },
  exit() {
    onSignal('SIGTERM', () => process.exit(0));
  },
  fail() {
    onSignal('SIGTERM', () => process.exit(7));
  },
  ignore() {
    onSignal('SIGTERM', () => {});
  },
  usr2() {
    onSignal('SIGUSR2', closeAndExit);
  },
  message() {
    process.on('message', (message) => {
      console.log(`message ${JSON.stringify(message)}: ${state()}`);
      closeAndExit();
    });
  },
  // Closes its channel itself at SIGUSR2, and lives on.
  detach() {
    onSignal('SIGTERM', closeAndExit);
    process.on('SIGUSR2', () => {
      // Without this node:cluster ends the process when the channel closes.
      require('node:cluster').worker.exitedAfterDisconnect = true;
      process.disconnect();
      console.log('detached');
    });
  },
};

stops[process.argv[2]]();
server.listen(0, '0.0.0.0');
