'use strict';

// Collects what a program can see of its process. Used by the mains next to it;
// each prints one JSON object, which must be the same with and without the agent.

const path = require('node:path');

const here = path.resolve(__dirname, '..');

// Paths of this folder, process ids, ports and times differ between runs or machines.
function plain(value) {
  return JSON.parse(JSON.stringify(value, (key, each) => {
    if (typeof each === 'function') return `function ${each.name}/${each.length}`;
    if (typeof each === 'symbol') return each.toString();
    if (each === undefined) return '(undefined)';
    return each;
  }).replaceAll(here, '(here)').replace(/("[^"]*(?:port|pid)":)\d+/gi, '$1"(number)"'));
}

function listeners(emitter) {
  return Object.fromEntries(emitter.eventNames().map((name) => [String(name), emitter.listenerCount(name)]));
}

function names(object) {
  return Reflect.ownKeys(object).map(String);
}

function shape(object) {
  const levels = [];
  for (let each = object; each && each !== Object.prototype; each = Object.getPrototypeOf(each)) levels.push(names(each));
  return levels;
}

/// Module system: `main` is the `module` of a CommonJS main.
function modules(main, require) {
  const Module = require('node:module');
  return {
    parent: main ? (main.parent === null ? 'null' : typeof main.parent) : 'none',
    requireMain: require.main === undefined ? 'undefined' : require.main === main,
    id: main?.id,
    paths: main?.paths,
    children: main?.children.map((child) => child.id),
    cache: Object.keys(require.cache),
    moduleCache: Object.keys(Module._cache),
    pathCache: Object.entries(Module._pathCache).flat(),
    extensions: Object.keys(Module._extensions),
    moduleKeys: names(Module),
    preloaded: process._preload_modules,
    preloadedFlags: Object.getOwnPropertyDescriptor(process, '_preload_modules'),
  };
}

function environment() {
  return {
    execArgv: process.execArgv,
    argv: process.argv.slice(2),
    argv0: process.argv0,
    title: process.title,
    env: Object.entries({ ...process.env }),
    processKeys: shape(process),
    globals: names(globalThis),
    listeners: listeners(process),
    maxListeners: process.getMaxListeners(),
    connected: process.connected,
    cluster: require('node:cluster').isWorker,
    exitCode: process.exitCode,
    prepare: String(Error.prepareStackTrace),
    stackLimit: Error.stackTraceLimit,
    stack: new Error('x').stack.split('\n').length,
  };
}

function activity() {
  return {
    resources: process.getActiveResourcesInfo(),
    handles: process._getActiveHandles().map((each) => each.constructor.name),
    requests: process._getActiveRequests().map((each) => each.constructor.name),
  };
}

/// The order in which callbacks queued by the main's first statements run.
function order() {
  const ran = [];
  const add = (name) => () => ran.push(name);
  process.nextTick(add('tick 1'));
  Promise.resolve().then(add('microtask 1')).then(add('microtask 2'));
  queueMicrotask(add('microtask 3'));
  process.nextTick(() => {
    ran.push('tick 2');
    Promise.resolve().then(add('microtask in tick'));
    process.nextTick(add('tick in tick'));
  });
  setImmediate(add('immediate'));
  ran.push('synchronous');
  return new Promise((resolve) => {
    setImmediate(() => setImmediate(() => resolve(ran)));
  });
}

/// One request to an HTTP server of the program, as its objects show it.
async function serving() {
  const http = require('node:http');
  const async_hooks = require('node:async_hooks');
  const types = [];
  const hook = async_hooks.createHook({ init: (id, type) => types.push(type) });
  const seen = {};
  const server = http.createServer((req, res) => {
    hook.disable();
    const { socket } = req;
    for (const [name, object] of Object.entries({ server, req, res, socket })) {
      seen[name] = { listeners: listeners(object), keys: shape(object) };
    }
    seen.symbols = Object.getOwnPropertySymbols(socket).length;
    seen.activity = activity();
    seen.stack = new Error('handler').stack.split('\n').map((line) => line.replace(/:\d+:\d+/, ''));
    seen.shouldKeepAlive = res.shouldKeepAlive;
    res.end('ok');
  });
  await new Promise((resolve) => server.listen({ port: 0, host: '127.0.0.1', exclusive: true }, resolve));
  seen.listening = { listeners: listeners(server), keys: names(server), activity: activity() };
  hook.enable();
  const agent = new http.Agent({ keepAlive: true });
  seen.headers = await new Promise((resolve, reject) => {
    http.get({ host: '127.0.0.1', port: server.address().port, agent }, (response) => {
      const { date, ...headers } = response.headers;
      response.resume().on('end', () => resolve(headers));
    }).on('error', reject);
  });
  agent.destroy();
  await new Promise((resolve) => server.close(resolve));
  seen.types = types;
  seen.afterwards = listeners(server);
  return seen;
}

/// What the program's children and worker threads inherit.
async function children() {
  const { fork, spawn } = require('node:child_process');
  const { Worker } = require('node:worker_threads');
  const child = path.join(__dirname, 'child.cjs');
  const output = (started) => new Promise((resolve, reject) => {
    let text = '';
    started.stdout.setEncoding('utf8').on('data', (part) => { text += part; });
    started.on('error', reject).on('close', () => resolve(JSON.parse(text)));
  });
  const thread = (options) => new Promise((resolve, reject) => {
    const worker = new Worker(child, options);
    worker.on('message', resolve).on('error', reject);
  });
  const [forked, spawned, inherited, own, shared] = await Promise.all([
    output(fork(child, ['forked'], { silent: true })),
    output(spawn('node', [child, 'spawned'], { stdio: ['ignore', 'pipe', 'inherit'] })),
    thread({}),
    thread({ execArgv: ['--no-warnings'], env: { OWN: '1' } }),
    thread({ env: require('node:worker_threads').SHARE_ENV }),
  ]);
  return { forked, spawned, threads: { inherited, own, shared } };
}

/// The whole program: `parts` names what to observe beyond the basics.
async function run(main, require, parts = []) {
  const ordered = order();
  const result = {
    modules: modules(main, require),
    environment: environment(),
    activity: activity(),
    // The order in which they are loaded counts too.
    loaded: process.moduleLoadList.slice(),
  };
  result.order = await ordered;
  if (parts.includes('serving')) result.serving = await serving();
  if (parts.includes('children')) result.children = await children();
  // The handles of children close in any order.
  result.finally = { listeners: listeners(process), env: Object.keys(process.env) };
  if (!parts.includes('children')) result.finally.activity = activity();
  const text = JSON.stringify(plain(result));
  await new Promise((resolve) => process.stdout.write(`${text}\n`, resolve));
  if (process.connected) process.disconnect();
}

module.exports = { run, modules, environment, plain };
