'use strict';

// What the agent does for the primary: reports, answers, and leaving.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');
const https = require('node:https');
const net = require('node:net');
const path = require('node:path');
const tls = require('node:tls');
const { after, test } = require('node:test');
const { start, temporary, until, WAYS, AGENT } = require('./helper.cjs');

const PROGRAM = path.join(__dirname, 'programs/server.cjs');
const HOST = '127.0.0.1';
const ca = fs.readFileSync(path.join(__dirname, 'fixtures/cert.pem'));
const workers = new Set();

after(async () => {
  for (const worker of workers) await worker.stop();
});

async function serve(kind, args = [], options = {}) {
  const worker = start([PROGRAM, kind, ...args], options);
  workers.add(worker);
  worker.done = async () => {
    workers.delete(worker);
    await worker.stop();
  };
  if (!kind.startsWith('later-')) worker.port = (await worker.message((m) => m.port !== undefined)).port;
  return worker;
}

function get(worker, url, { agent, secure, ...rest } = {}) {
  const module = secure ? https : http;
  return new Promise((resolve, reject) => {
    const request = module.get({ host: HOST, port: worker.port, path: url, agent, ca, ...rest }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text) => { body += text; });
      response.on('error', reject).on('end', () => resolve({ headers: response.headers, body, socket: response.socket }));
    });
    request.on('error', reject);
  });
}

/// A connection on which the test writes HTTP itself.
async function raw(worker, ...texts) {
  const socket = worker.secure ? tls.connect({ port: worker.port, host: HOST, ca }) : net.connect(worker.port, HOST);
  const client = { socket, text: '', ended: false, error: null };
  socket.setEncoding('latin1').on('data', (text) => { client.text += text; });
  socket.on('error', (error) => { client.error = error; }).on('close', () => { client.ended = true; });
  await new Promise((resolve) => socket.once(worker.secure ? 'secureConnect' : 'connect', resolve));
  for (const text of texts) socket.write(text);
  client.has = (text) => until(() => client.text.includes(text), `${text} in ${client.text}`);
  client.closed = () => until(() => client.ended, 'end of the connection');
  return client;
}

const request = (url, more = '') => `GET ${url} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;
const held = (worker, count) => worker.message((m) => m.held === count);
const work = (worker, expected) => worker.agent.find(
  (m) => m.work && Object.keys(expected).every((key) => m.work[key] === expected[key]), `work ${JSON.stringify(expected)}`);
const leave = (worker) => worker.agent.ask({ leave: { stopAccepting: false } }, (m) => m.work, 'first work');
const lastWork = (worker) => worker.agent.all.findLast((m) => m.work).work;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const report = (worker, check) => worker.agent.find((m) => m.report && check(m.report), `report ${check}`);

test('hello is sent before the program runs', async () => {
  const folder = temporary();
  const file = path.join(folder, 'blocked.cjs');
  fs.writeFileSync(file, 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);');
  for (const way of WAYS) {
    const worker = start([file], { way });
    const first = await worker.agent.find(() => true, 'hello');
    assert.deepEqual(first, { hello: { protocol: 1, runtime: 'node', version: process.versions.node } });
    await worker.stop();
  }
});

test('nothing is reported before configure', async () => {
  const worker = await serve('http');
  await get(worker, '/', { agent: false });
  const answer = await worker.agent.ask({ listeners: { id: 1, event: 'x' } }, (m) => m.listeners, 'answer');
  assert.deepEqual(answer.listeners, { id: 1, count: 0 });
  assert.equal(worker.agent.all.length, 2);
  await worker.done();
});

for (const kind of ['http', 'https', 'subclass', 'net', 'unix']) {
  test(`connections of a ${kind} server are counted`, async () => {
    const socketPath = path.join(temporary(), 's');
    const worker = await serve(kind === 'unix' ? 'net' : kind, kind === 'unix' ? [socketPath] : []);
    worker.agent.send({ configure: { report: 0, connections: 5 } });
    const open = [];
    for (let count = 1; count <= 3; count++) {
      open.push(kind === 'unix' ? net.connect(socketPath) : net.connect(worker.port, HOST));
      open[count - 1].on('error', () => {});
      await worker.agent.find((m) => m.connections === count, `${count} connections`);
    }
    for (const socket of open) socket.destroy();
    await worker.agent.find((m) => m.connections === 0, 'no connection');
    assert.ok(!worker.agent.all.some((m) => m.report));
    await worker.done();
  });
}

test('reports count requests, including aborted ones, and show the delay', async () => {
  const worker = await serve('http');
  worker.agent.send({ configure: { report: 20, connections: 0 } });
  for (let count = 0; count < 5; count++) await get(worker, '/', { agent: false });
  const aborted = await raw(worker, request('/hold'));
  const streaming = await raw(worker, request('/stream'));
  await report(worker, (r) => r.requests === 5 && r.active === 2 && r.connections === 2);
  aborted.socket.destroy();
  await report(worker, (r) => r.requests === 6 && r.active === 1 && r.connections === 1);
  streaming.socket.destroy();
  const last = (await report(worker, (r) => r.requests === 7 && r.active === 0 && r.connections === 0)).report;
  assert.ok(last.rss > last.heapUsed && last.heapUsed > 1e6);
  worker.child.send('block');
  const { delay } = (await report(worker, (r) => r.delay.max > 200)).report;
  assert.ok(delay.p50 <= delay.p99 && delay.p99 <= delay.max && delay.max < 10_000);
  // 0 turns both off.
  worker.agent.send({ configure: { report: 0, connections: 0 } });
  await worker.agent.ask({ listeners: { id: 1, event: 'x' } }, (m) => m.listeners, 'answer');
  const silent = worker.agent.all.length;
  await get(worker, '/', { agent: false });
  await worker.agent.ask({ listeners: { id: 2, event: 'x' } }, (m) => m.listeners, 'answer');
  assert.equal(worker.agent.all.length, silent + 1);
  await worker.done();
});

for (const kind of ['h2c', 'http2']) {
  test(`HTTP/2 streams are requests (${kind})`, async () => {
    const worker = await serve(kind);
    worker.agent.send({ configure: { report: 20 } });
    const session = http2.connect(`${kind === 'h2c' ? 'http' : 'https'}://${HOST}:${worker.port}`, { ca });
    session.on('error', () => {});
    for (let count = 0; count < 3; count++) {
      const stream = session.request({ ':path': '/' });
      stream.resume();
      await new Promise((resolve) => stream.on('close', resolve));
    }
    const holding = session.request({ ':path': '/hold' });
    holding.on('error', () => {});
    await report(worker, (r) => r.requests === 3 && r.active === 1 && r.connections === 1);
    holding.close(http2.constants.NGHTTP2_CANCEL);
    await report(worker, (r) => r.requests === 4 && r.active === 0);
    session.destroy();
    await report(worker, (r) => r.connections === 0);
    await worker.done();
  });
}

test('the number of listeners is answered', async () => {
  const worker = await serve('http');
  const ask = (id, event) => worker.agent.ask({ listeners: { id, event } }, (m) => m.listeners?.id === id, 'answer');
  assert.deepEqual(await ask(1, 'SIGTERM'), { listeners: { id: 1, count: 0 } });
  worker.child.send('listen-signal');
  await worker.message((m) => m.listens);
  assert.deepEqual(await ask(2, 'SIGTERM'), { listeners: { id: 2, count: 1 } });
  await worker.done();
});

test('malformed input is ignored, and too long a line ends the agent only', async () => {
  const worker = await serve('http');
  const lines = ['', 'x', '{', 'null', '1', '[]', '{"leave":1}', '{"leave":null}', '{"configure":[]}', '{"configure":{"report":"1"}}',
    '{"configure":{"report":-1,"connections":1e99}}', '{"listeners":{"id":1}}', '{"listeners":7}', '{"other":{}}', '\u0000\uffff', '{"é":"ü"}'];
  for (const line of lines) worker.agent.send(`${line}\n`);
  worker.agent.stream.write(Buffer.from([0xff, 0xfe, 10, 0xc3, 10]));
  // One message in single bytes, two in one write.
  for (const char of '{"listeners":{"id":"é","event":"a"}}\n') worker.agent.stream.write(char);
  await worker.agent.find((m) => m.listeners?.id === 'é', 'answer');
  worker.agent.send('{"listeners":{"id":2,"event":"a"}}\n{"listeners":{"id":3,"event":"a"}}\n');
  await worker.agent.find((m) => m.listeners?.id === 3, 'answer');
  assert.ok(!worker.agent.all.some((m) => m.work));
  worker.agent.send('x'.repeat(200_000));
  await until(() => worker.agent.ended, 'end of the agent');
  assert.equal((await get(worker, '/', { agent: false })).body, 'ok');
  assert.equal(worker.stderr, '');
  await worker.done();
});

test('end of file and errors on the socket leave the program alone', async () => {
  for (const end of ['destroy', 'end', 'resetAndDestroy']) {
    const worker = await serve('http');
    worker.agent.send({ configure: { report: 5, connections: 1 } });
    await report(worker, () => true);
    if (end === 'resetAndDestroy') worker.agent.stream.destroy();
    else worker.agent.stream[end]();
    assert.equal((await get(worker, '/', { agent: false })).body, 'ok');
    worker.child.send('state');
    await worker.message((m) => m.state);
    assert.equal(worker.stderr, '');
    await worker.done();
  }
});

test('the agent does not keep a process alive', async () => {
  const folder = temporary();
  const file = path.join(folder, 'short.cjs');
  fs.writeFileSync(file, '');
  for (const way of WAYS) {
    // Not a cluster worker: those end when they disconnect, whatever is open.
    const worker = start([file], { way, env: { NODE_UNIQUE_ID: undefined } });
    worker.agent.send({ configure: { report: 5, connections: 5 } });
    worker.agent.send({ leave: { stopAccepting: true } });
    await worker.closed();
    assert.deepEqual(worker.exit, { code: 0, signal: null }, worker.stderr);
  }
});

test('a missing or unusable descriptor disables the agent only', async () => {
  const folder = temporary();
  const file = path.join(folder, 'env.cjs');
  fs.writeFileSync(file, 'process.send(Object.keys(process.env).filter((n) => n.startsWith("CLUSTER_AGENT"))); process.disconnect();');
  for (const way of WAYS) {
    for (const fd of ['99', '0', 'x', '-1', '']) {
      const worker = start([file], { way, env: { CLUSTER_AGENT_FD: fd } });
      await worker.closed();
      assert.deepEqual([worker.exit.code, worker.ipc, worker.stderr], [0, [[]], ''], `${way} ${fd}`);
    }
  }
  const worker = start([file], { way: 'data', env: { CLUSTER_AGENT_SCRIPT_FD: '98' } });
  await worker.closed();
  assert.deepEqual([worker.exit.code, worker.ipc, worker.stderr], [0, [[]], '']);
});

test('built-in modules are loaded no earlier than without the agent', async () => {
  const folder = temporary();
  const file = path.join(folder, 'list.cjs');
  fs.writeFileSync(file, 'process.send(process.moduleLoadList); process.disconnect();');
  const lists = {};
  for (const way of [null, ...WAYS]) {
    const worker = start([file], { way });
    await worker.closed();
    lists[way] = new Set(worker.ipc[0]);
  }
  for (const way of WAYS) {
    const added = [...lists[way]].filter((name) => !lists.null.has(name));
    const heavy = added.filter((name) => /NativeModule (_?https?|http2|_http.*|perf_hooks|internal\/http.*|tls|_tls.*|crypto|worker_threads)$/.test(name));
    assert.deepEqual(heavy, [], way);
    if (!way.endsWith('data')) assert.deepEqual(added, [], way);
    else assert.ok(added.includes('NativeModule vm'), added);
  }
});

for (const [kind, secure] of [['http', false], ['https', true], ['subclass', false], ['http2', true]]) {
  test(`leave: HTTP/1 responses of ${kind} carry Connection: close`, async () => {
    const worker = await serve(kind);
    const agent = new (secure ? https : http).Agent({ keepAlive: true });
    assert.equal((await get(worker, '/', { agent, secure })).headers.connection, 'keep-alive');
    const pending = ['/hold', '/keep-later'].map((url) => get(worker, url, { agent, secure }));
    await held(worker, 2);
    const first = await leave(worker);
    assert.equal(first.work.requests, 2);
    assert.equal(first.work.started, 0);
    // A request on a new connection, answered at once; and one whose program sets keep-alive.
    assert.equal((await get(worker, '/', { agent, secure })).headers.connection, 'close');
    const keep = await get(worker, '/keep', { agent, secure });
    assert.deepEqual([keep.headers.connection, keep.headers['keep-alive'], keep.headers['x-own']], ['close', undefined, '1']);
    worker.child.send('release');
    const [hold, later] = await Promise.all(pending);
    assert.equal(hold.headers.connection, 'close');
    assert.equal(later.headers.connection, 'close, X-Own');
    assert.equal(later.headers['keep-alive'], undefined);
    await work(worker, { requests: 0, started: 0, connections: 0 });
    worker.child.send('state');
    const { state } = await worker.message((m) => m.state);
    assert.deepEqual([state.listening, state.address.port, state.connected], [true, worker.port, true]);
    worker.child.send('close');
    assert.equal((await worker.message((m) => m.closed !== undefined)).closed, null);
    agent.destroy();
    await worker.done();
  });
}

test('leave: work tells started responses, and goes up again', async () => {
  const worker = await serve('http');
  const streaming = await raw(worker, request('/stream'));
  await streaming.has('part');
  assert.deepEqual((await leave(worker)).work, { requests: 1, started: 1, connections: 1, total: 1 });
  const second = await raw(worker, request('/hold'));
  await work(worker, { requests: 2, started: 1, connections: 2, total: 2 });
  worker.child.send('release');
  await work(worker, { requests: 0, started: 0 });
  await second.closed();
  await streaming.closed(); // its header was sent before: closed as idle
  const third = await raw(worker, request('/stream'));
  await third.has('Connection: close');
  await work(worker, { requests: 1, started: 1, connections: 1, total: 3 });
  third.socket.destroy(); // aborted by the client
  await work(worker, { requests: 0, started: 0, connections: 0, total: 3 });
  // One that comes and goes between two checks shows in `total`.
  await get(worker, '/', { agent: false });
  await work(worker, { requests: 0, connections: 0, total: 4 });
  await worker.done();
});

test('leave: idle connections are closed, new and receiving ones are not', async () => {
  const worker = await serve('http');
  const idle = await raw(worker, request('/'));
  await idle.has('ok');
  const fresh = await raw(worker);
  const partial = await raw(worker, request('/'));
  await partial.has('ok');
  partial.text = '';
  partial.socket.write('GET / HTTP/1.1\r\nHo');
  const body = await raw(worker, 'POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab');
  await held(worker, 1);
  // The partial request must have arrived: a later one on another connection was answered.
  await get(worker, '/', { agent: false });
  const first = await leave(worker);
  // The one with a body, the partial one, and the new connection.
  assert.deepEqual([first.work.requests, first.work.total], [3, 4]);
  await idle.closed();
  await work(worker, { connections: 3 });
  partial.socket.write('st: x\r\n\r\n');
  await partial.has('Connection: close');
  await partial.closed();
  fresh.socket.write(request('/'));
  await fresh.has('Connection: close');
  await fresh.closed();
  body.socket.write('cd');
  worker.child.send('release');
  await body.has('held');
  assert.match(body.text, /^HTTP\/1.1 200 OK\r\nConnection: close\r\n/);
  await work(worker, { requests: 0, connections: 0, total: 6 });
  await worker.done();
});

test('leave: a busy keep-alive client loses no request', async () => {
  const worker = await serve('http');
  const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
  let stop = false;
  let done = 0;
  let failed = 0;
  const client = async () => {
    while (!stop) {
      await get(worker, '/', { agent }).then(() => { done++; }, () => { failed++; });
    }
  };
  const clients = [1, 2, 3, 4].map(client);
  await until(() => done > 50, 'requests');
  await leave(worker);
  const before = done;
  await until(() => done > before + 50, 'requests after leave');
  stop = true;
  await Promise.all(clients);
  await work(worker, { requests: 0, connections: 0 });
  assert.equal(failed, 0);
  agent.destroy();
  await worker.done();
});

test('leave: pipelined requests are all answered', async () => {
  const worker = await serve('http');
  const client = await raw(worker, request('/hold'), request('/'), request('/hold'));
  await held(worker, 2);
  await leave(worker);
  worker.child.send('release');
  await client.closed();
  assert.equal(client.text.match(/HTTP\/1.1 200 OK/g).length, 3);
  assert.equal(client.text.match(/Connection: close/g).length, 1);
  await work(worker, { requests: 0, connections: 0 });
  await worker.done();
});

test('leave: pipelined requests that are answered out of order are all answered', async () => {
  const worker = await serve('http');
  const client = await raw(worker, request('/hold'), request('/hold'), request('/'));
  await held(worker, 2);
  await leave(worker);
  client.socket.write(request('/hold')); // arrives while leaving
  await held(worker, 3);
  for (let left = 2; left >= 0; left--) {
    worker.child.send('release-last');
    await worker.message((m) => m.released === left);
  }
  await client.closed();
  const answers = client.text.split(/(?=HTTP\/1.1 )/);
  assert.deepEqual(answers.map((each) => each.includes('Connection: close')), [false, false, false, true]);
  assert.deepEqual(answers.map((each) => /held|ok/.exec(each)[0]), ['held', 'held', 'ok', 'held']);
  assert.equal(client.error, null);
  await work(worker, { requests: 0, connections: 0, total: 4 });
  await worker.done();
});

test('leave: an early answer to an unfinished upload does not reset the connection', async () => {
  const worker = await serve('http');
  const post = (url, length) => `POST ${url} HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n`;
  const before = await raw(worker, post('/hold', 4), 'ab');
  await held(worker, 1);
  await leave(worker);
  const size = 8 << 20;
  const client = await raw(worker, post('/early', size), 'x'.repeat(1000));
  await client.has('\r\n\r\nno');
  assert.match(client.text, /^HTTP\/1.1 401 /);
  assert.doesNotMatch(client.text, /Connection: close/);
  worker.child.send('release');
  await before.has('held');
  assert.doesNotMatch(before.text, /Connection: close/);
  // Both uploads count until they are complete, although nothing is open.
  await pause(300);
  assert.deepEqual(lastWork(worker), { requests: 2, started: 0, connections: 2, total: 2 });
  assert.ok(!client.ended && !before.ended);
  before.socket.write('cd');
  await before.closed(); // as idle
  client.text = '';
  client.socket.write('x'.repeat(size - 1000));
  client.socket.write(request('/'));
  await client.has('ok');
  assert.match(client.text, /^HTTP\/1.1 200 OK\r\nConnection: close\r\n/);
  await client.closed();
  assert.deepEqual([client.error, before.error], [null, null]);
  await work(worker, { requests: 0, connections: 0, total: 3 });
  await worker.done();
});

for (const kind of ['http', 'https']) {
  test(`leave: a request whose header arrives in two segments is work (${kind})`, async () => {
    const worker = await serve(kind);
    worker.secure = kind === 'https';
    const used = await raw(worker, request('/'));
    await used.has('ok');
    used.text = '';
    const unused = await raw(worker);
    for (const client of [used, unused]) client.socket.write('GET / HTTP/1.1\r\nHo');
    await get(worker, '/', { agent: false, secure: worker.secure }); // the segments have arrived
    const first = await leave(worker);
    assert.deepEqual([first.work.requests, first.work.started, first.work.total], [2, 0, 2]);
    await pause(1300); // longer than a connection counts as new
    assert.deepEqual(lastWork(worker), { requests: 2, started: 0, connections: 2, total: 2 });
    for (const client of [used, unused]) {
      client.socket.write('st: x\r\n\r\n');
      await client.has('Connection: close');
      await client.closed();
    }
    await work(worker, { requests: 0, connections: 0, total: 4 });
    await worker.done();
  });
}

test('leave: a connection without a byte counts for a second, and stays', async () => {
  const worker = await serve('http');
  const fresh = await raw(worker);
  await get(worker, '/', { agent: false });
  const from = Date.now();
  assert.equal((await leave(worker)).work.requests, 1);
  await work(worker, { requests: 0, connections: 1, total: 1 });
  const took = Date.now() - from;
  assert.ok(took > 800 && took < 5000, `${took}`);
  fresh.socket.write(request('/'));
  await fresh.has('Connection: close');
  await work(worker, { requests: 0, connections: 0, total: 2 });
  await worker.done();
});

test('leave: upgraded connections and CONNECT are not requests', async () => {
  const worker = await serve('upgrade');
  worker.agent.send({ configure: { report: 20, connections: 5 } });
  const upgraded = await raw(worker, 'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n');
  await upgraded.has('101');
  const tunnel = await raw(worker, 'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n');
  await tunnel.has('200');
  await report(worker, (r) => r.connections === 2 && r.active === 0 && r.requests === 0);
  assert.deepEqual((await leave(worker)).work, { requests: 0, started: 0, connections: 2, total: 0 });
  const late = await raw(worker, 'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n');
  await late.has('101');
  await work(worker, { connections: 3 });
  await pause(250);
  assert.deepEqual(lastWork(worker), { requests: 0, started: 0, connections: 3, total: 0 });
  assert.ok(!upgraded.ended && !tunnel.ended);
  for (const client of [upgraded, tunnel, late]) client.socket.destroy();
  await work(worker, { requests: 0, connections: 0 });
  await worker.done();
});

for (const kind of ['h2c', 'http2']) {
  test(`leave: sessions get GOAWAY and finish their streams (${kind})`, async () => {
    const worker = await serve(kind);
    const connect = async () => {
      const session = http2.connect(`${kind === 'h2c' ? 'http' : 'https'}://${HOST}:${worker.port}`, { ca });
      session.on('error', () => {});
      session.goaways = 0;
      session.on('goaway', (code) => {
        assert.equal(code, 0);
        session.goaways++;
      });
      await new Promise((resolve) => session.once('connect', resolve));
      return session;
    };
    const ask = (session, url) => new Promise((resolve, reject) => {
      const stream = session.request({ ':path': url });
      let body = '';
      stream.setEncoding('utf8').on('data', (text) => { body += text; });
      stream.on('error', reject).on('end', () => resolve(body));
    });
    const idle = await connect();
    assert.equal(await ask(idle, '/'), 'ok');
    const busy = await connect();
    const answers = [ask(busy, '/hold'), ask(busy, '/stream')];
    await held(worker, 2);
    const unused = await connect();
    await until(() => worker.ipc.filter((m) => m.session).length === 3, 'three sessions');
    const first = await leave(worker);
    // The session without a stream counts as well.
    assert.deepEqual(first.work, { requests: 3, started: 1, connections: 3, total: 3 });
    await until(() => idle.closed && idle.goaways > 0, 'end of the idle session');
    await until(() => busy.goaways > 0, 'GOAWAY on the busy session');
    // A session that has not had a stream yet gets its first requests answered.
    assert.equal(await ask(unused, '/'), 'ok');
    await until(() => unused.closed, 'end of the used session');
    const late = await connect();
    assert.equal(await ask(late, '/'), 'ok');
    await until(() => late.closed, 'end of the late session');
    const silent = await connect();
    worker.child.send('release');
    assert.deepEqual(await Promise.all(answers), ['held', 'partend']);
    await until(() => silent.closed, 'end of the session without streams');
    await work(worker, { requests: 0, started: 0, connections: 0, total: 5 });
    worker.child.send('close');
    assert.equal((await worker.message((m) => m.closed !== undefined)).closed, null);
    await worker.done();
  });

  test(`leave: a session without a stream counts for a second (${kind})`, async () => {
    const worker = await serve(kind);
    const session = http2.connect(`${kind === 'h2c' ? 'http' : 'https'}://${HOST}:${worker.port}`, { ca });
    session.on('error', () => {});
    await worker.message((m) => m.session);
    const from = Date.now();
    assert.deepEqual((await leave(worker)).work, { requests: 1, started: 0, connections: 1, total: 0 });
    await work(worker, { requests: 0, total: 0 });
    const took = Date.now() - from;
    assert.ok(took > 800 && took < 5000, `${took}`);
    await until(() => session.closed, 'end of the session');
    await work(worker, { requests: 0, connections: 0, total: 0 });
    await worker.done();
  });
}

for (const kind of ['http', 'https', 'h2c', 'http2']) {
  test(`leave: a server that listens later is covered (${kind})`, async () => {
    const worker = await serve(`later-${kind}`);
    await worker.message((m) => m.ready);
    assert.deepEqual((await leave(worker)).work, { requests: 0, started: 0, connections: 0, total: 0 });
    worker.child.send('listen');
    worker.port = (await worker.message((m) => m.port)).port;
    if (kind === 'http' || kind === 'https') {
      const answer = await get(worker, '/keep', { secure: kind === 'https', agent: false });
      assert.equal(answer.headers.connection, 'close');
    } else {
      const session = http2.connect(`${kind === 'h2c' ? 'http' : 'https'}://${HOST}:${worker.port}`, { ca });
      session.on('error', () => {});
      const stream = session.request({ ':path': '/' });
      stream.resume();
      await new Promise((resolve) => stream.on('close', resolve));
      await until(() => session.closed, 'end of the session');
    }
    await work(worker, { requests: 0, connections: 0 });
    await worker.done();
  });
}

test('connections that are passed over IPC are counted and leave as well', async () => {
  const worker = await serve('http');
  worker.agent.send({ configure: { report: 20, connections: 5 } });
  const front = net.createServer({ pauseOnConnect: true }, (socket) => worker.child.send('connection', socket));
  await new Promise((resolve) => front.listen(0, HOST, resolve));
  const client = await raw({ port: front.address().port }, request('/hold'));
  await held(worker, 1);
  await report(worker, (r) => r.active === 1 && r.connections === 1);
  assert.deepEqual((await leave(worker)).work, { requests: 1, started: 0, connections: 1, total: 1 });
  worker.child.send('release');
  await client.has('Connection: close');
  await client.closed();
  await work(worker, { requests: 0, connections: 0 });
  front.close();
  await worker.done();
});

test('the stub works on a Node without process.getBuiltinModule', async () => {
  const folder = temporary();
  const file = path.join(folder, 'old.cjs');
  fs.writeFileSync(file, 'delete process.getBuiltinModule;');
  const worker = await serve('http', [], { way: 'data', execArgv: ['-r', file] });
  assert.ok((await worker.agent.find(() => true, 'hello')).hello);
  await worker.done();
});

test('the agent file is not needed after start-up by the main thread', async () => {
  const copy = path.join(temporary(), 'agent.cjs');
  fs.copyFileSync(AGENT, copy);
  const worker = await serve('http', [], { agent: copy });
  fs.rmSync(copy);
  const pending = get(worker, '/hold', { agent: false });
  await held(worker, 1);
  await leave(worker);
  worker.child.send('release');
  assert.equal((await pending).headers.connection, 'close');
  await worker.done();
});

test('two pipes: hello, reports, answers and leaving', async () => {
  for (const way of WAYS) {
    const worker = await serve('http', [], { way, pipes: true });
    const first = await worker.agent.find(() => true, 'hello');
    assert.deepEqual(first, { hello: { protocol: 1, runtime: 'node', version: process.versions.node } });
    const answer = await worker.agent.ask({ listeners: { id: 1, event: 'x' } }, (m) => m.listeners, 'answer');
    assert.deepEqual(answer.listeners, { id: 1, count: 0 });
    worker.agent.send({ configure: { report: 20, connections: 5 } });
    const pending = get(worker, '/hold', { agent: false });
    await report(worker, (r) => r.active === 1 && r.connections === 1);
    assert.deepEqual((await leave(worker)).work, { requests: 1, started: 0, connections: 1, total: 1 });
    worker.child.send('release');
    assert.equal((await pending).headers.connection, 'close');
    await work(worker, { requests: 0, connections: 0, total: 1 });
    assert.equal(worker.stderr, '');
    await worker.done();
  }
});

test('two pipes: end of file ends the agent only', async () => {
  const worker = await serve('http', [], { pipes: true });
  worker.agent.send({ configure: { report: 5, connections: 1 } });
  await report(worker, () => true);
  worker.agent.writer.end();
  await until(() => worker.agent.ended, 'end of the agent');
  assert.equal((await get(worker, '/', { agent: false })).body, 'ok');
  assert.equal(worker.stderr, '');
  await worker.done();
});

test('two pipes: an output without a reader ends the agent only', async () => {
  for (const deaf of [false, true]) { // closed later, or before the start
    const worker = await serve('http', [], { pipes: true, deaf });
    if (!deaf) {
      worker.agent.send({ configure: { report: 5, connections: 1 } });
      await report(worker, () => true);
      worker.agent.stream.destroy();
    }
    await until(() => {
      if (!worker.agent.writer.destroyed) worker.agent.send('\n');
      return worker.agent.writer.destroyed;
    }, 'end of the agent');
    assert.equal((await get(worker, '/', { agent: false })).body, 'ok');
    worker.child.send('state');
    await worker.message((m) => m.state);
    assert.equal(worker.stderr, '');
    await worker.done();
  }
});

test('two pipes: an output that is full is skipped', async () => {
  const worker = await serve('http', [], { pipes: true });
  worker.agent.stream.pause();
  worker.agent.send({ configure: { report: 1, connections: 1 } });
  await pause(2500); // some 64 KiB and more
  assert.equal((await get(worker, '/', { agent: false })).body, 'ok');
  const before = worker.agent.all.length;
  worker.agent.stream.resume();
  await report(worker, (r) => r.requests === 1);
  assert.ok(worker.agent.all.length > before);
  await worker.done();
});

test('two pipes do not keep a process alive', async () => {
  const file = path.join(temporary(), 'short.cjs');
  fs.writeFileSync(file, '');
  for (const way of WAYS) {
    const worker = start([file], { way, env: { NODE_UNIQUE_ID: undefined }, pipes: true });
    worker.agent.send({ configure: { report: 5, connections: 5 } });
    worker.agent.send({ leave: { stopAccepting: true } });
    await worker.closed();
    assert.deepEqual(worker.exit, { code: 0, signal: null }, worker.stderr);
  }
});

test('two pipes: a wrong inode or number on either side disables the agent only', async () => {
  const file = path.join(temporary(), 'env.cjs');
  fs.writeFileSync(file, `const { fstatSync } = require('fs');
    process.send([fstatSync(4).isFIFO(), fstatSync(6).isFIFO(), process.env.CLUSTER_AGENT_FD]); process.disconnect();`);
  const inode = (fd) => `$(stat -Lc %i /proc/self/fd/${fd})`;
  const values = [`4,1,6,${inode(6)}`, `4,${inode(4)},6,1`, `4,${inode(4)},99,1`, `99,1,6,${inode(6)}`, `4,${inode(4)},x,1`];
  for (const value of values) {
    const script = `CLUSTER_AGENT_FD="${value}" exec "$0" "$@"`;
    const worker = start(['-c', script, process.execPath, '-r', AGENT, file], { command: '/bin/sh', pipes: true });
    await worker.closed();
    assert.deepEqual([worker.exit.code, worker.ipc, worker.stderr], [0, [[true, true, null]], ''], value);
    assert.deepEqual(worker.agent.all, [], value);
  }
});
