// The other end of users' messages, for `cargo xtask bench`: under Node's `fork()`, under Bun's, and
// under ours. Echoes texts, or counts them, or sends them as fast as it may.
'use strict';
const { flood } = require('./talk.cjs');

let echoes = true;
let count = 0;

process.on('message', async (message) => {
  if (typeof message === 'string') {
    if (echoes) process.send(message);
    else count += 1;
    return;
  }
  switch (message.do) {
    case 'echo':
    case 'count':
      echoes = message.do === 'echo';
      count = 0;
      break;
    case 'end':
      process.send({ count });
      break;
    case 'flood':
      process.send({ count: await flood(process, 'x'.repeat(message.size), message.ms) });
      break;
  }
});
