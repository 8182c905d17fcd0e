// A program that replaces its workers in its own code while a client asks without a pause. Prints what was lost.
'use strict';
const cluster = require('node:cluster');
const http = require('node:http');

if (cluster.isPrimary) {
  let port;
  const counts = { ok: 0, failed: 0 };
  let going = true;
  const ask = () => {
    const request = http.get({ port, agent: false, host: '127.0.0.1' }, (response) => {
      response.resume().on('end', () => {
        counts.ok += 1;
        if (going) ask();
      });
    });
    request.on('error', () => {
      counts.failed += 1;
      if (going) ask();
    });
  };
  const replace = (old) => new Promise((resolve) => {
    const worker = cluster.fork();
    worker.once('listening', () => {
      old.once('exit', resolve);
      old.disconnect();
    });
  });
  const first = [cluster.fork(), cluster.fork()];
  let listening = 0;
  const begin = async (worker, address) => {
    ({ port } = address);
    if (++listening < 2) return;
    cluster.off('listening', begin);
    for (let n = 0; n < 4; n += 1) ask();
    for (const old of first) await replace(old);
    going = false;
    cluster.disconnect(() => console.log(JSON.stringify({ lost: counts.failed, served: counts.ok > 10, left: Object.keys(cluster.workers) })));
  };
  cluster.on('listening', begin);
} else {
  http.createServer((_, response) => response.end('x')).listen(0);
}
