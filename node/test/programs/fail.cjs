'use strict';

// Ends in the way given as argument.
process.disconnect();
process.on('exit', (code) => console.log('exit', code, process.exitCode));
function inner() {
  throw new TypeError('thrown', { cause: new Error('cause') });
}
const ways = {
  throw: () => inner(),
  tick: () => process.nextTick(inner),
  timer: () => setTimeout(inner, 1),
  reject: () => Promise.reject(new Error('rejected')),
  value: () => { throw null; }, // eslint-disable-line no-throw-literal
  syntax: () => require('./broken.cjs'),
  missing: () => require('./not-there'),
  exit: () => process.exit(3),
  code: () => { process.exitCode = 4; },
  signal: () => process.kill(process.pid, 'SIGTERM'),
  abort: () => new Promise(() => {}),
  warning: () => process.emitWarning('careful', 'Kind', 'CODE'),
  handler: () => {
    process.on('uncaughtException', (error, origin) => console.log(origin, error.stack));
    process.nextTick(inner);
  },
};
ways[process.argv[2]]();
