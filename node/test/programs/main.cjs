'use strict';
require('./observe.cjs').run(module, require, process.argv.slice(2));
