const answer: number = 42;
process.argv.push(String(answer));
require('./observe.cjs').run(module, require, process.argv.slice(2));
