// prom-client's AggregatorRegistry: the primary half sums what four workers count.
'use strict';
const cluster = require('node:cluster');
const http = require('node:http');
const { AggregatorRegistry, Counter } = require('prom-client');

const WORKERS = 4;
const REQUESTS = 40;

if (cluster.isPrimary) {
  const registry = new AggregatorRegistry();
  for (let n = 0; n < WORKERS; n += 1) cluster.fork();
  let listening = 0;
  cluster.on('listening', async (_, { port }) => {
    if (++listening < WORKERS) return;
    const ask = () => new Promise((resolve) => http.get({ port, agent: false }, (r) => r.resume().on('end', resolve)));
    await Promise.all(Array.from({ length: REQUESTS }, ask));
    console.log((await registry.clusterMetrics()).match(/^hits .*$/m)[0]);
    cluster.disconnect();
  });
} else {
  new AggregatorRegistry();
  const counter = new Counter({ name: 'hits', help: 'requests' });
  http.createServer((_, response) => {
    counter.inc();
    response.end();
  }).listen(0);
}
