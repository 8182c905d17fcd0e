import { createRequire } from 'node:module';
enum Kind { A = 'enum' }
const kind: Kind = Kind.A;
process.argv.push(kind);
const require = createRequire(import.meta.url);
await require('./observe.cjs').run(undefined, require, process.argv.slice(2));
export {};
