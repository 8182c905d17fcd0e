import { createRequire } from 'node:module';
import fs from 'node:fs/promises';

const start = [];
process.nextTick(() => start.push('tick'));
queueMicrotask(() => start.push('microtask'));
await fs.readFile(new URL(import.meta.url));
await Promise.resolve();
const require = createRequire(import.meta.url);
process.argv.push(start.join(' '), import.meta.url, String(import.meta.main), String(typeof module));
await require('./observe.cjs').run(undefined, require, process.argv.slice(2));
