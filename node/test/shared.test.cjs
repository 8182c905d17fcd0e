'use strict';

// leave with stopAccepting: the workers of a real node:cluster primary accept
// from one shared socket (SCHED_NONE).

const assert = require('node:assert/strict');
const cluster = require('node:cluster');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { after, test } = require('node:test');
const { injection, temporary, until, watch, AGENT, WAYS, AGENT_FD } = require('./helper.cjs');

cluster.schedulingPolicy = cluster.SCHED_NONE;
const PROGRAM = path.join(__dirname, 'programs/server.cjs');
const workers = new Set();

after(async () => {
  for (const worker of workers) await worker.stop();
});

function fork(args, { exec = PROGRAM, way = 'require' } = {}) {
  const { execArgv, env, usesScript } = injection(way);
  const script = usesScript ? fs.openSync(AGENT, 'r') : 'ignore';
  cluster.setupPrimary({ exec, args, execArgv, stdio: ['ignore', 'pipe', 'pipe', 'ipc', 'pipe', script] });
  const forked = cluster.fork(env);
  if (usesScript) fs.closeSync(script);
  const worker = watch(forked.process, args, way);
  worker.cluster = forked;
  worker.acts = [];
  forked.process.on('internalMessage', (message) => {
    if (message.act !== undefined) worker.acts.push(message.act);
  });
  worker.closes = () => worker.acts.filter((act) => act === 'close').length;
  workers.add(worker);
  return worker;
}

/// Inodes of the listening TCP sockets of this network namespace.
function listening() {
  const inodes = new Set();
  for (const name of ['tcp', 'tcp6']) {
    let text = '';
    try {
      text = fs.readFileSync(`/proc/net/${name}`, 'utf8');
    } catch { /* no IPv6 */ }
    for (const line of text.split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      if (fields[3] === '0A') inodes.add(`socket:[${fields[9]}]`);
    }
  }
  return inodes;
}

function listeners(worker) {
  const inodes = listening();
  const folder = `/proc/${worker.child.pid}/fd`;
  return fs.readdirSync(folder).filter((name) => {
    try {
      return inodes.has(fs.readlinkSync(path.join(folder, name)));
    } catch {
      return false;
    }
  }).length;
}

function get(port, url = '/', agent = false) {
  return new Promise((resolve, reject) => {
    http.get({ host: '127.0.0.1', port, path: url, agent }, (response) => {
      response.resume().on('end', () => resolve(response.headers)).on('error', reject);
    }).on('error', reject);
  });
}

const state = async (worker) => {
  worker.ipc = worker.ipc.filter((m) => !m.state);
  worker.child.send('state');
  return (await worker.message((m) => m.state)).state;
};

async function done(...stopped) {
  for (const worker of stopped) {
    workers.delete(worker);
    await worker.stop();
  }
}

for (const way of WAYS) {
  test(`the listening handle is closed without a message (${way})`, async () => {
    const leaving = fork(['http', 'shared'], { way });
    const { port } = await leaving.message((m) => m.port);
    const staying = fork(['http', 'shared'], { way });
    assert.equal((await staying.message((m) => m.port)).port, port);
    const before = await state(leaving);
    assert.equal(listeners(leaving), 1);
    leaving.agent.send({ leave: { stopAccepting: true } });
    await leaving.agent.find((m) => m.work, 'work');
    await until(() => listeners(leaving) === 0, 'closed listener');
    assert.deepEqual(await state(leaving), before);
    assert.deepEqual([before.listening, before.address.port, before.connected], [true, port, true]);
    for (let count = 0; count < 40; count++) {
      assert.equal((await get(port))['x-pid'], String(staying.child.pid));
    }
    assert.equal(leaving.closes(), 0);
    leaving.child.send('close');
    assert.equal((await leaving.message((m) => m.closed !== undefined)).closed, null);
    await until(() => leaving.closes() === 1, 'act: close');
    assert.equal((await state(leaving)).listening, false);
    assert.equal(leaving.closes(), 1);
    assert.equal(leaving.stderr, '');
    await done(leaving, staying);
  });
}

test('without stopAccepting the handle stays, and a later leave closes it', async () => {
  const worker = fork(['http', 'shared']);
  const { port } = await worker.message((m) => m.port);
  await worker.agent.ask({ leave: { stopAccepting: false } }, (m) => m.work, 'work');
  assert.equal((await get(port)).connection, 'close');
  assert.equal(listeners(worker), 1);
  worker.agent.send({ leave: { stopAccepting: true } });
  await until(() => listeners(worker) === 0, 'closed listener');
  await done(worker);
});

test('a request in progress is answered; disconnect ends the worker as usual', async () => {
  const worker = fork(['http', 'shared']);
  const { port } = await worker.message((m) => m.port);
  const pending = get(port, '/hold', new http.Agent({ keepAlive: true }));
  await worker.message((m) => m.held === 1);
  worker.agent.send({ leave: { stopAccepting: true } });
  await until(() => listeners(worker) === 0, 'closed listener');
  worker.child.send('release');
  assert.equal((await pending).connection, 'close');
  await worker.agent.find((m) => m.work?.connections === 0, 'no connection');
  worker.cluster.disconnect();
  await worker.closed();
  workers.delete(worker);
  assert.deepEqual([worker.exit.code, worker.stderr, worker.cluster.exitedAfterDisconnect], [0, '', true]);
});

test('a server that listens later stops accepting as well', async () => {
  const worker = fork(['later-http', 'shared']);
  await worker.message((m) => m.ready);
  await worker.agent.ask({ leave: { stopAccepting: true } }, (m) => m.work, 'work');
  worker.child.send('listen');
  const { port } = await worker.message((m) => m.port);
  await until(() => listeners(worker) === 0, 'closed listener');
  await until(() => worker.acts.includes('listening'), 'act: listening');
  assert.equal((await state(worker)).address.port, port);
  worker.child.send('close');
  assert.equal((await worker.message((m) => m.closed !== undefined)).closed, null);
  await until(() => worker.closes() === 1, 'act: close');
  await done(worker);
});

test('a listener of the worker itself (exclusive) stays open', async () => {
  const worker = fork(['http']);
  const { port } = await worker.message((m) => m.port);
  await worker.agent.ask({ leave: { stopAccepting: true } }, (m) => m.work, 'work');
  for (let count = 0; count < 5; count++) assert.equal((await get(port)).connection, 'close');
  assert.equal(listeners(worker), 1);
  await done(worker);
});

for (const [name, text, code] of [
  ['a process with nothing but its server lives on', 'process.channel.unref();', undefined],
  ['unref after the handle is closed', 'process.channel.unref(); process.on("SIGUSR2", () => s.unref());', 0],
  ['close after the handle is closed', 'process.channel.unref(); process.on("SIGUSR2", () => s.close());', 0],
]) {
  test(name, async () => {
    const file = path.join(temporary(), 'only.cjs');
    fs.writeFileSync(file, `const s = require("net").createServer().listen(0, "127.0.0.1", () => {
      process.send({ port: s.address().port });
      ${text}
    });`);
    const worker = fork([], { exec: file });
    await worker.message((m) => m.port);
    worker.agent.send({ leave: { stopAccepting: true } });
    await until(() => listeners(worker) === 0, 'closed listener');
    for (let id = 0; id < 20; id++) {
      await worker.agent.ask({ listeners: { id, event: 'x' } }, (m) => m.listeners?.id === id, 'answer');
    }
    if (code !== undefined) {
      worker.child.kill('SIGUSR2');
      await worker.closed();
      assert.equal(worker.exit.code, code, worker.stderr);
    }
    await done(worker);
  });
}
