// The whole life of two workers, and what a primary half sees of itself. Prints one line at the end.
'use strict';
const cluster = require('node:cluster');
const http = require('node:http');

if (cluster.isPrimary) {
  process.env.PARENT = process.pid;
  const seen = {};
  const note = (worker, what) => (seen[worker.id] ??= []).push(what);
  cluster.on('fork', (w) => note(w, `fork ${w.state}`));
  cluster.on('online', (w) => note(w, `online ${w.state}`));
  cluster.on('listening', (w, a) => note(w, `listening ${JSON.stringify({ ...a, port: a.port > 0 })}`));
  // Which worker serves a request depends on the placement.
  const requests = [];
  cluster.on('message', (w, m, handle) => {
    if (m.served) requests.push(m);
    else note(w, `message ${JSON.stringify(m)} ${handle}`);
  });
  cluster.on('disconnect', (w) => note(w, `disconnect ${w.exitedAfterDisconnect} ${w.isConnected()}`));
  cluster.on('exit', (w, code, signal) => note(w, `exit ${code} ${signal} ${w.exitedAfterDisconnect} ${w.isDead()}`));

  cluster.setupPrimary({ args: ['a', 'b'] });
  const workers = [cluster.fork({ NAME: 'one' }), cluster.fork({ NAME: 'two' })];
  const own = {
    settings: { ...cluster.settings, exec: cluster.settings.exec === __filename },
    ids: Object.keys(cluster.workers),
    pids: workers.map((w) => typeof w.process.pid),
    spawned: workers.map((w) => [w.process.spawnfile === process.execPath, w.process.spawnargs.slice(1).join(' ') ===
      [...process.execArgv, __filename, 'a', 'b'].join(' ')]),
    isChild: workers.every((w) => w.process instanceof require('node:child_process').ChildProcess),
    send: typeof process.send, connected: process.connected, channel: typeof process.channel,
    hidden: ['_send', '_disconnect', '_handleQueue'].filter((name) => name in process),
    execArgv: process.execArgv,
    env: Object.keys(process.env).filter((name) => name.includes('CLUSTER_EXEC')),
    same: cluster === process.getBuiltinModule?.('cluster') || process.getBuiltinModule === undefined,
  };
  process.on('exit', () => console.log(JSON.stringify({ own, requests, seen })));
  let answers = 0;
  cluster.on('message', () => {
    if (++answers === 4) cluster.disconnect();
  });
  let listening = 0;
  cluster.on('listening', (w, address) => {
    if (++listening < 2) return;
    for (const worker of workers) worker.send({ hello: 'ü', list: [1, null, true] });
    for (let n = 0; n < 2; n += 1) http.get({ port: address.port, agent: false }, (r) => r.resume());
  });
} else {
  process.on('message', (message) => process.send({ echo: message, args: process.argv.slice(2) }));
  http.createServer((_, response) => {
    process.send({ served: ['one', 'two'].includes(process.env.NAME), ppid: process.ppid === Number(process.env.PARENT), execArgv: process.execArgv });
    response.end();
  }).listen(0);
}
