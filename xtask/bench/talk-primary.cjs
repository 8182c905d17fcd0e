// Users' messages between a process and its child, for `cargo xtask bench`:
// talk-primary.cjs SERIALIZATION MILLISECONDS. Prints what it measured as an object: numbers a second
// of what is small, MB a second of what is large.
'use strict';
const { fork } = require('node:child_process');
const path = require('node:path');
const { AT_ONCE, flood, LARGE, MEGABYTES, SMALL } = require('./talk.cjs');

const [serialization, millis] = process.argv.slice(2);
const worker = fork(path.join(__dirname, 'talk-worker.cjs'), [], { serialization });

/** Says `message`, and gives what comes back. */
const ask = (message) => new Promise((resolve) => {
  worker.once('message', resolve);
  worker.send(message);
});

/** So many are under way at any time. */
async function thereAndBack(text, ms, atOnce) {
  worker.send({ do: 'echo' });
  const start = performance.now();
  let n = 0;
  let left = atOnce;
  let rate;
  await new Promise((resolve) => {
    worker.on('message', () => {
      n += 1;
      if (rate === undefined && performance.now() - start < ms) return worker.send(text);
      rate ??= n / (performance.now() - start) * 1000;
      left -= 1;
      if (left > 0) return;
      worker.removeAllListeners('message');
      resolve();
    });
    for (let i = 0; i < atOnce; i++) worker.send(text);
  });
  return rate;
}

const inTurn = (text, ms) => thereAndBack(text, ms, 1);
const atOnce = (text, ms) => thereAndBack(text, ms, AT_ONCE);

async function toWorker(text, ms) {
  worker.send({ do: 'count' });
  const start = performance.now();
  await flood(worker, text, ms);
  const { count } = await ask({ do: 'end' });
  return count / (performance.now() - start) * 1000;
}

async function toPrimary(text, ms) {
  const start = performance.now();
  let n = 0;
  await new Promise((resolve, reject) => {
    worker.on('message', (message) => {
      if (typeof message === 'string') return n += 1;
      worker.removeAllListeners('message');
      if (message.count === n) resolve();
      else reject(new Error(`${n} of ${message.count} came`));
    });
    worker.send({ do: 'flood', size: text.length, ms });
  });
  return n / (performance.now() - start) * 1000;
}

(async () => {
  const ms = Number(millis);
  const measured = {};
  const ways = [
    ['small', SMALL, 1, [inTurn, atOnce, toWorker, toPrimary]],
    // One keeps both ends busy.
    ['large', LARGE, MEGABYTES, [inTurn, toWorker, toPrimary]],
  ];
  for (const [name, size, unit, each] of ways) {
    const text = 'x'.repeat(size);
    for (const way of each) {
      await way(text, ms / 4); // warms up
      measured[`${name} ${way.name}`] = await way(text, ms) * unit;
    }
  }
  console.log(JSON.stringify(measured));
  worker.disconnect();
})();
