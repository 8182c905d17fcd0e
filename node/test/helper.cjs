'use strict';

// Starts worker processes with the agent, as the Rust primary does, and speaks
// the agent's protocol with them.

const { execFileSync, spawn } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { PassThrough } = require('node:stream');

const AGENT = path.resolve(__dirname, '../agent.cjs');
const STUB = path.resolve(__dirname, '../stub.mjs');
const WAYS = ['require', 'data', 'options', 'options-data'];
const MAJOR = Number(process.versions.node.split('.')[0]);
const TIMEOUT = 20_000;

// The descriptors of the worker: 3 is the IPC channel.
const AGENT_FD = 4;
const SCRIPT_FD = 5;
const OUT_FD = 6; // with two pipes; AGENT_FD is the one that the agent reads then

function stubUrl() {
  const text = fs.readFileSync(STUB, 'utf8').split('\n').filter((line) => !line.trim().startsWith('//')).join('\n');
  // Everything but the unreserved characters is encoded, so that no quoting is needed.
  const encoded = [...Buffer.from(text)].map((byte) => {
    const char = String.fromCharCode(byte);
    return /[A-Za-z0-9._~-]/.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }).join('');
  return `data:text/javascript,${encoded}`;
}

/// execArgv and environment for one way of injection; `way` null is without the agent.
function injection(way, { execArgv = [], nodeOptions, agent = AGENT } = {}) {
  const env = {};
  if (nodeOptions !== undefined) env.NODE_OPTIONS = nodeOptions;
  if (way === null || way === undefined) return { execArgv, env, usesScript: false };
  env.CLUSTER_AGENT_FD = String(AGENT_FD);
  const usesScript = way.endsWith('data');
  if (usesScript) env.CLUSTER_AGENT_SCRIPT_FD = String(SCRIPT_FD);
  const preload = usesScript ? ['--import', stubUrl()] : ['-r', agent];
  if (way.startsWith('options')) {
    env.CLUSTER_AGENT_NODE_OPTIONS = nodeOptions === undefined ? '-' : `=${nodeOptions}`;
    env.NODE_OPTIONS = `${preload.join(' ')} ${nodeOptions ?? ''}`;
    return { execArgv, env, usesScript };
  }
  return { execArgv: [...preload, ...execArgv], env, usesScript };
}

/// Lines of JSON from a stream, with waiting.
class Messages {
  constructor(stream, writer = stream) {
    this.stream = stream;
    this.writer = writer;
    this.all = [];
    this.ended = false;
    this.waiters = new Set();
    let rest = '';
    stream.setEncoding('utf8');
    stream.on('data', (text) => {
      rest += text;
      const lines = rest.split('\n');
      rest = lines.pop();
      for (const line of lines) this.all.push(JSON.parse(line));
      this.wake();
    });
    stream.on('error', () => {});
    const end = () => {
      this.ended = true;
      this.wake();
    };
    stream.on('end', end);
    stream.on('close', end);
  }

  wake() {
    for (const waiter of this.waiters) waiter();
  }

  send(message) {
    this.writer.write(typeof message === 'string' ? message : `${JSON.stringify(message)}\n`);
  }

  /// The first message from index `from` for which `test` holds.
  find(test, what = test, from = 0) {
    return until(() => this.all.slice(from).find(test), () => `${what}; last: ${JSON.stringify(this.all.slice(-3))}`, this.waiters);
  }

  async ask(message, test, what) {
    const from = this.all.length;
    this.send(message);
    return this.find(test, what, from);
  }
}

/// Resolves with the first truthy result of `test`, polling.
async function until(test, what = test, wakers = undefined, limit = TIMEOUT) {
  const end = Date.now() + limit;
  for (;;) {
    const value = await test();
    if (value) return value;
    if (Date.now() > end) throw new Error(`timed out waiting for ${typeof what === 'function' && what !== test ? what() : what}`);
    await new Promise((resolve) => {
      const timer = setTimeout(done, 5);
      function done() {
        clearTimeout(timer);
        wakers?.delete(done);
        resolve();
      }
      wakers?.add(done);
    });
  }
}

const running = new Set();
const folders = new Set();

process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
  for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true });
});

function temporary() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'agent-test-'));
  folders.add(folder);
  return folder;
}

/// Both ends of a pipe. Node's own 'pipe' is a socket pair.
function pipe() {
  const file = path.join(temporary(), 'pipe');
  execFileSync('mkfifo', [file]);
  const { O_RDONLY, O_WRONLY, O_NONBLOCK } = fs.constants;
  const read = fs.openSync(file, O_RDONLY | O_NONBLOCK); // does not wait for a writer
  const write = fs.openSync(file, O_WRONLY);
  return { read, write, inode: fs.fstatSync(read).ino };
}

/// Starts `args` (a program and its arguments) in Node, with the agent unless `way` is null.
/// The IPC channel is connected, and NODE_UNIQUE_ID makes the child a cluster worker.
/// With `pipes` the agent gets two pipes instead of a socket; `deaf` closes the
/// read end of the agent's output before the start.
function start(args, options = {}) {
  const { way = 'require', execArgv, nodeOptions, agent, env = {}, command, cwd, pipes = false, deaf = false } = options;
  const injected = injection(way, { execArgv, nodeOptions, agent });
  const stdio = ['ignore', 'pipe', 'pipe', 'ipc', way === null ? 'ignore' : 'pipe'];
  const script = injected.usesScript ? fs.openSync(AGENT, 'r') : undefined;
  stdio.push(script ?? 'ignore');
  const channel = pipes && way !== null ? { input: pipe(), output: pipe() } : undefined;
  if (channel !== undefined) {
    const { input, output } = channel;
    stdio[AGENT_FD] = input.read;
    stdio.push(output.write);
    injected.env.CLUSTER_AGENT_FD = [AGENT_FD, input.inode, OUT_FD, output.inode].join();
    if (deaf) fs.closeSync(output.read);
  }
  const environment = { ...process.env, ...injected.env, NODE_UNIQUE_ID: '7', ...env };
  // The test runner's own variables must not reach the child.
  for (const name of ['NODE_TEST_CONTEXT', 'NODE_V8_COVERAGE']) delete environment[name];
  if (injected.env.NODE_OPTIONS === undefined) delete environment.NODE_OPTIONS;
  const child = command === undefined
    ? spawn(process.execPath, [...injected.execArgv, ...args], { stdio, env: environment, cwd })
    : spawn(command, args, { stdio, env: environment, cwd });
  if (script !== undefined) fs.closeSync(script);
  if (channel === undefined) return watch(child, args, way);
  const { input, output } = channel;
  fs.closeSync(input.read);
  fs.closeSync(output.write);
  const writer = new net.Socket({ fd: input.write, readable: false, writable: true });
  const worker = watch(child, args, null);
  worker.agent = new Messages(
    deaf ? new PassThrough() : new net.Socket({ fd: output.read, readable: true, writable: false }), writer);
  // Destroyed by the first write after the agent has closed its end.
  writer.on('error', () => {});
  return worker;
}

/// Collects what a child process prints, sends and reports.
function watch(child, args, way) {
  running.add(child);
  const worker = { child, stdout: '', stderr: '', exit: null, agent: null, ipc: [] };
  child.stdout.setEncoding('utf8').on('data', (text) => { worker.stdout += text; });
  child.stderr.setEncoding('utf8').on('data', (text) => { worker.stderr += text; });
  child.on('message', (message) => worker.ipc.push(message));
  child.on('internalMessage', () => {});
  child.on('close', (code, signal) => {
    running.delete(child);
    worker.exit = { code, signal };
  });
  if (way !== null) worker.agent = new Messages(child.stdio[AGENT_FD]);
  worker.closed = () => until(() => worker.exit, () => `exit of ${args}; stderr: ${worker.stderr}`);
  worker.stop = async () => {
    if (worker.exit === null) child.kill('SIGKILL');
    await worker.closed();
  };
  /// The next IPC message of the program for which `test` holds.
  worker.message = (test) => until(() => {
    if (worker.exit !== null && !worker.ipc.some(test)) throw new Error(`exited: ${JSON.stringify(worker.exit)} ${worker.stderr}`);
    return worker.ipc.find(test);
  }, () => `IPC message ${test}; stderr: ${worker.stderr}`);
  return worker;
}

module.exports = {
  AGENT, STUB, WAYS, MAJOR, AGENT_FD, SCRIPT_FD, OUT_FD, watch,
  Messages, injection, stubUrl, start, temporary, until, net,
};
