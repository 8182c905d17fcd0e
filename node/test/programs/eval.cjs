'use strict';

// Code generation is off: strings must not compile.
let result;
try {
  result = eval('1'); // eslint-disable-line no-eval
} catch (error) {
  result = error.name;
}
process.argv.push(result);
require('./observe.cjs').run(module, require, []);
