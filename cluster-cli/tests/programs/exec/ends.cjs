// Ends as its argument says.
'use strict';
const cluster = require('node:cluster');

if (cluster.isWorker) {
  if (process.argv[2] === 'last-words') process.send('last words', () => process.exit(7));
  else {
    setInterval(() => {}, 1000);
    if (process.argv[2] === 'hang') setTimeout(() => { while (true); }, 100);
  }
} else {
  const worker = cluster.fork();
  const how = process.argv[2];
  cluster.on('exit', (_, code, signal) => console.log('exit', code, signal));
  if (how === 'last-words') worker.on('message', (message) => console.log(message));
  else worker.on('online', () => {
    if (how === 'code') process.exit(3);
    if (how === 'throw') throw new Error('of the script');
    if (how === 'kill-worker') worker.kill('SIGKILL');
    if (how === 'unref') {
      worker.process.unref();
      worker.process.channel.unref();
    }
    if (how === 'signal') process.kill(process.pid, 'SIGTERM');
    if (how === 'stay' || how === 'hang') console.log('worker', worker.process.pid);
  });
}
