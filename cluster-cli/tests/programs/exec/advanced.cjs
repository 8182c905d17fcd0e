// Structured clones, and values that JSON has not.
'use strict';
const cluster = require('node:cluster');

if (cluster.isPrimary) {
  cluster.setupPrimary({ serialization: 'advanced', silent: true });
  const worker = cluster.fork();
  const circle = { name: 'circle' };
  circle.self = circle;
  const values = [new Map([[1, { a: 1n }]]), new Set('ab'), Buffer.from('bytes'), new Float64Array([0.5, -0]),
    new Date(0), /x/gi, undefined, -0, NaN, circle, 'plain'];
  let stdout = '';
  let stderr = '';
  worker.process.stdout.on('data', (data) => stdout += data);
  worker.process.stderr.on('data', (data) => stderr += data);
  const back = [];
  worker.on('message', (message) => {
    back.push(message.value);
    if (back.length === values.length) worker.disconnect();
  });
  worker.on('online', () => values.forEach((value) => worker.send({ value })));
  worker.process.on('close', (code) => {
    require('node:assert').deepStrictEqual(back, values);
    console.log(JSON.stringify({ same: back.length, code, stdout, stderr, killed: worker.process.killed }));
  });
} else {
  console.log('to stdout');
  console.error('to stderr');
  process.on('message', (message) => process.send(message));
}
