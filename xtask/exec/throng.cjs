// throng keeps the number of workers for a while, and ends them by a signal.
'use strict';
const throng = require('throng');

throng({
  count: 3,
  lifetime: 200,
  master: () => console.log('master'),
  worker: (_, disconnect) => {
    console.log('worker');
    process.on('SIGTERM', () => {
      disconnect();
      process.exit();
    });
    setTimeout(() => process.exit(), 400);
  },
});
