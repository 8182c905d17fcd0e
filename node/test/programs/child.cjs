'use strict';

// A child process or worker thread of an observed program.
const { modules, environment, plain } = require('./observe.cjs');
const { parentPort } = require('node:worker_threads');

const { processKeys, globals, ...rest } = environment();
const result = plain({ modules: modules(module, require), environment: rest, url: typeof __filename });
if (parentPort) parentPort.postMessage(result);
else process.stdout.write(JSON.stringify(result), () => process.connected && process.disconnect());
