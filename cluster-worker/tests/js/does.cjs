// A Node primary that has the Rust worker (fixtures/doer.rs) do things one by one.
'use strict';
const assert = require('node:assert');
const cluster = require('node:cluster');
const dgram = require('node:dgram');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { once } = require('node:events');
const { ask, exits, folder, fork, message, policy, received, run } = require('./lib.cjs');

const { errno } = require('node:os').constants;
const rr = policy === 'rr';
const major = Number(process.versions.node.split('.')[0]);

async function readAll(socket) {
  let text = '';
  for await (const chunk of socket) text += chunk;
  return text;
}

const served = async (where) => Number(await readAll(net.connect({ host: '127.0.0.1', ...where })));

async function refused(where) {
  const [error] = await once(net.connect({ host: '127.0.0.1', ...where }), 'error');
  return error.code === 'ECONNREFUSED';
}

const listen = (worker, id, options) => ask(worker, { do: 'listen', id, ...options });
const local = { host: '127.0.0.1', port: 0 };

async function leave(...workers) {
  workers.forEach((worker) => worker.disconnect());
  await Promise.all(workers.map((worker) => exits(worker, 0, true)));
}

function values() {
  const sparse = [1, , 3]; // eslint-disable-line no-sparse-arrays
  const named = Object.assign([1], { name: 'x' });
  const vast = [];
  vast[1_000_000] = 1;
  return [
    undefined, null, true, 0, -0, NaN, Infinity, 1.5, 2 ** 31, -(2 ** 31), 2 ** 53,
    0n, -1n, 2n ** 64n, -(2n ** 200n), '', 'é', '€', '\ud800', 'x'.repeat(70_000), '€'.repeat(40_000),
    new Date(0), /a+/gi, [], [undefined], sparse, named, vast, {}, { a: { b: undefined } },
    new Map([[{ k: 1 }, new Set([1, 'two'])], ['k', new Map()]]), new Set([[], {}]),
    Object(1), Object(true), Object('text'), Object(5n),
    new ArrayBuffer(3), new Uint8Array([1, 2]), new Int16Array([-1]), new Float64Array([1.5, -0]),
    new BigUint64Array([1n]), new DataView(new ArrayBuffer(2)), Buffer.from('bytes'),
    new Uint8ClampedArray([255]), new Uint8Array(0),
  ];
}

run({
  async handles_down() {
    const worker = fork();
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address();
    assert.deepStrictEqual(await ask(worker, { do: 'serve', id: 's' }, server), { serving: 'tcp' });
    server.close();
    assert.strictEqual(await served({ port }), worker.id);

    const file = path.join(folder, 'down.sock');
    // To close it here would remove its file: both accept from it.
    const pipe = net.createServer((socket) => socket.end('0\n')).listen(file);
    await once(pipe, 'listening');
    assert.deepStrictEqual(await ask(worker, { do: 'serve', id: 'u' }, pipe), { serving: 'unix' });
    while ((await served({ path: file })) !== worker.id) ;
    pipe.close();

    for (const at of [{ port: 0, host: '127.0.0.1' }, { path: path.join(folder, 'conn.sock') }]) {
      const accepting = net.createServer({ pauseOnConnect: true }).listen(at);
      await once(accepting, 'listening');
      const client = net.connect(at.path ? at : { port: accepting.address().port, host: '127.0.0.1' });
      const [socket] = await once(accepting, 'connection');
      worker.send({ do: 'answer' }, socket);
      assert.strictEqual(await readAll(client), 'answered\n');
      accepting.close();
      await once(accepting, 'close');
    }

    const socket = dgram.createSocket('udp4');
    socket.bind({ port: 0, address: '127.0.0.1' });
    await once(socket, 'listening');
    const at = socket.address().port;
    assert.strictEqual(await ask(worker, { do: 'receive' }, socket), 'receiving');
    socket.close();
    const client = dgram.createSocket('udp4');
    client.send('hello', at, '127.0.0.1');
    const [heard] = await once(client, 'message');
    assert.strictEqual(heard.toString(), 'heard hello');
    client.close();
    await leave(worker);
  },

  async handles_up() {
    const worker = fork();
    worker.send({ do: 'sendServer' });
    const [{ port }, server] = await received(worker);
    assert.ok(server instanceof net.Server);
    server.on('connection', (socket) => socket.end('from the primary\n'));
    assert.strictEqual(await readAll(net.connect(port, '127.0.0.1')), 'from the primary\n');
    server.close();

    const file = path.join(folder, 'up.sock');
    worker.send({ do: 'sendUnixServer', path: file });
    const [, pipe] = await received(worker);
    assert.ok(pipe instanceof net.Server);
    pipe.on('connection', (socket) => socket.end('from the primary\n'));
    assert.strictEqual(await readAll(net.connect(file)), 'from the primary\n');
    pipe.close();

    worker.send({ do: 'sendDatagrams' });
    const [bound, socket] = await received(worker);
    assert.ok(socket instanceof dgram.Socket);
    assert.strictEqual(socket.address().port, bound.port);
    socket.close();

    worker.send({ do: 'sendSocket', keepOpen: true });
    const { port: kept } = await message(worker);
    const client = net.connect(kept, '127.0.0.1');
    const [, connection] = await received(worker);
    assert.ok(connection instanceof net.Socket);
    // The worker writes on its own copy; who ends the connection ends it for both.
    const [first] = await once(client, 'data');
    assert.strictEqual(String(first), 'and from here\n');
    connection.end('from the primary\n');
    assert.strictEqual(await readAll(client), 'from the primary\n');
    await leave(worker);
  },

  // The primary's server counts what it sent away, and the worker's what it did.
  async counts() {
    const worker = fork();
    const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const clients = [];
    for (let n = 0; n < 2; n++) {
      clients.push(net.connect(server.address().port, '127.0.0.1'));
      const [socket] = await once(server, 'connection');
      assert.strictEqual(await ask(worker, { do: 'keep' }, socket), 'kept');
    }
    const count = () => new Promise((resolve, reject) => {
      server.getConnections((error, n) => (error ? reject(error) : resolve(n)));
    });
    assert.strictEqual(await count(), 2);
    assert.strictEqual(await ask(worker, { do: 'drop' }), 'dropped');
    assert.strictEqual(await count(), 1);
    const closed = once(server, 'close');
    server.close();
    assert.strictEqual(await ask(worker, { do: 'drop' }), 'dropped');
    await closed;

    worker.send({ do: 'sendSocket' });
    const { port } = await message(worker);
    const client = net.connect(port, '127.0.0.1');
    const [, connection] = await received(worker);
    assert.deepStrictEqual(await ask(worker, { do: 'countSockets' }), { count: 1 });
    const last = ask(worker, { do: 'awaitSockets' });
    connection.destroy();
    assert.deepStrictEqual(await last, { closed: true });
    client.destroy();
    await leave(worker);
  },

  // Both sides send descriptors with large messages, and neither waits for the other.
  async both() {
    const count = 40;
    const size = 150_000;
    const worker = fork();
    const file = path.join(folder, 'both.sock');
    const accepting = net.createServer({ pauseOnConnect: true }).listen(file);
    await once(accepting, 'listening');
    worker.send({ do: 'exchange', count, size });
    const payload = 'y'.repeat(size);
    for (let n = 0; n < count; n++) {
      const client = net.connect(file);
      const [socket] = await once(accepting, 'connection');
      client.on('error', () => {});
      worker.send({ do: 'take', n, payload }, socket);
    }
    const taken = [];
    const got = [];
    while (taken.length < count || got.length < count) {
      const [said, handle] = await received(worker);
      if ('took' in said) {
        assert.strictEqual(said.length, size);
        taken.push(said.took);
      } else {
        assert.strictEqual(said.payload.length, size);
        assert.ok(handle instanceof net.Socket);
        handle.destroy();
        got.push(said.n);
      }
    }
    const expected = Array.from({ length: count }, (_, n) => n);
    assert.deepStrictEqual(taken, expected);
    assert.deepStrictEqual(got, expected);
    accepting.close();
    await leave(worker);
  },

  // What JSON cannot say comes back as it went.
  async values() {
    const worker = fork();
    for (const value of values()) {
      const answer = await ask(worker, { value });
      assert.deepStrictEqual(answer, { echo: { value } });
      if (typeof value === 'object' && value !== null) {
        assert.strictEqual(answer.echo.value.constructor, value.constructor);
      }
    }
    // Which Node 20 takes for unequal to itself.
    const { echo: { value: invalid } } = await ask(worker, { value: new Date(NaN) });
    assert.ok(invalid instanceof Date && Number.isNaN(invalid.getTime()));
    const cycle = { name: 'cycle', list: [] };
    cycle.list.push(cycle, cycle.list);
    const { echo } = await ask(worker, cycle);
    assert.strictEqual(echo.list[0], echo);
    assert.strictEqual(echo.list[1], echo.list);
    const caused = new TypeError('outer', { cause: new RangeError('inner') });
    const { echo: { value: error } } = await ask(worker, { value: caused });
    assert.ok(error instanceof TypeError && error.cause instanceof RangeError);
    assert.deepStrictEqual([error.message, error.cause.message], ['outer', 'inner']);
    assert.strictEqual(error.stack, caused.stack);
    const large = Buffer.alloc(3_000_000, 7);
    assert.deepStrictEqual(await ask(worker, { value: large }), { echo: { value: large } });
    await leave(worker);
  },

  async addresses() {
    const [one, two] = [fork(), fork()];
    // A port alone: both families.
    const { port } = await listen(one, 'any', { port: 0 });
    assert.strictEqual(await served({ port }), one.id);
    assert.strictEqual(await served({ port, host: '::1' }), one.id);
    const only = await listen(one, 'only', { host: '::', port: 0, ipv6Only: true });
    assert.strictEqual(await served({ port: only.port, host: '::1' }), one.id);
    assert.ok(await refused({ port: only.port }));
    // Any port is the same in all workers, and another each time.
    const first = await listen(one, 'a', local);
    const second = await listen(one, 'b', local);
    assert.notStrictEqual(first.port, second.port);
    assert.strictEqual((await listen(two, 'a', local)).port, first.port);
    assert.strictEqual((await listen(two, 'b', local)).port, second.port);
    // A descriptor of the primary's.
    const handle = net._createServerHandle('127.0.0.1', 0, 4);
    const own = await listen(two, 'fd', { fd: handle.fd });
    assert.strictEqual(own.error, undefined);
    assert.strictEqual(await served({ port: own.port }), two.id);
    await leave(one, two);
  },

  async paths() {
    const worker = fork();
    for (const [name, options, bits] of [
      ['plain', {}, 0], ['r', { readableAll: true }, 0o444], ['w', { writableAll: true }, 0o222],
      ['own', { exclusive: true, readableAll: true }, 0o444],
    ]) {
      const file = path.join(folder, name);
      const said = await ask(worker, { do: 'listenUnix', id: name, path: file, ...options });
      assert.deepStrictEqual(said, { path: file });
      assert.strictEqual(await served({ path: file }), worker.id);
      assert.strictEqual(fs.statSync(file).mode & bits, bits);
    }
    // Longer than a socket's address: seen from where the primary is, if it is near.
    const deep = path.join(folder, 'd'.repeat(50), 'e'.repeat(50));
    fs.mkdirSync(deep, { recursive: true });
    process.chdir(deep);
    const file = path.join(deep, 'long.sock');
    const said = await ask(worker, { do: 'listenUnix', id: 'long', path: file });
    if (rr) {
      assert.deepStrictEqual(said, { path: file });
      assert.strictEqual(await served({ path: 'long.sock' }), worker.id);
    }
    const again = await ask(worker, { do: 'listenUnix', id: 'p2', path: path.join(folder, 'plain') });
    assert.strictEqual(again.errno, errno.EADDRINUSE);
    await leave(worker);
    assert.ok(!fs.existsSync(path.join(folder, 'own')), 'its own file goes with it');
  },

  async datagrams() {
    const [one, two] = [fork(), fork()];
    for (const [type, host] of [['udp4', '127.0.0.1'], ['udp6', '::1']]) {
      const bind = (worker) => ask(worker, { do: 'bind', id: type, type, host, port: 0, reuseAddr: true });
      const { port } = await bind(one);
      assert.strictEqual((await bind(two)).port, port);
      const client = dgram.createSocket(type);
      client.send('who?', port, host);
      const [answer] = await once(client, 'message');
      assert.ok([one.id, two.id].includes(Number(answer.toString())));
      client.close();
      // Beside a stranger's socket fits only one that says so, as it did. (One for each question:
      // whatever workers bind of one address is one socket.)
      for (const reuseAddr of [true, false]) {
        const theirs = dgram.createSocket({ type, reuseAddr: true });
        theirs.bind(0, host);
        await once(theirs, 'listening');
        const { port: taken } = theirs.address();
        const beside = await ask(one, { do: 'bind', id: `beside ${type}`, type, host, port: taken, reuseAddr });
        assert.deepStrictEqual([beside.port, beside.errno], reuseAddr ? [taken, undefined] : [undefined, errno.EADDRINUSE]);
        theirs.close();
      }
    }
    await leave(one, two);
  },

  async deep() {
    const worker = fork();
    let deep = 'in the middle';
    for (let level = 0; level < 1000; level++) deep = [deep];
    worker.send(deep);
    assert.deepStrictEqual(await ask(worker, { do: 'close', id: 'nothing' }), { lost: 1 });
    assert.deepStrictEqual(await message(worker), { closed: 'nothing' });
    await leave(worker);
  },

  async own_sockets() {
    const [one, two] = [fork(), fork()];
    let told = 0;
    cluster.on('listening', () => { told++; });
    const exclusive = { ...local, exclusive: true };
    const first = await listen(one, 'x', exclusive);
    const second = await listen(two, 'x', exclusive);
    assert.notStrictEqual(first.port, second.port);
    assert.strictEqual(await served({ port: first.port }), one.id);
    assert.strictEqual(await served({ port: second.port }), two.id);
    const taken = await listen(two, 'y', { ...exclusive, port: first.port });
    assert.strictEqual(taken.errno, errno.EADDRINUSE);
    // The kernel shares out what several bind with SO_REUSEPORT.
    const shared = await listen(one, 'p', { ...exclusive, reusePort: true });
    const other = await listen(two, 'p', { ...exclusive, port: shared.port, reusePort: true });
    assert.strictEqual(other.port, shared.port);
    const given = await ask(one, { do: 'listenOn', id: 'g' });
    assert.strictEqual(await served({ port: given.port }), one.id);
    await ask(one, { do: 'close', id: 'g' });
    assert.ok(await refused({ port: given.port }));
    const datagrams = (worker) => ask(worker, { do: 'bind', id: 'u', host: '127.0.0.1', port: 0, exclusive: true });
    assert.notStrictEqual((await datagrams(one)).port, (await datagrams(two)).port);
    const either = (worker, port) =>
      ask(worker, { do: 'bind', id: 'r', host: '127.0.0.1', port, reusePort: true });
    const { port } = await either(one, 0);
    assert.strictEqual((await either(two, port)).port, port);
    assert.strictEqual(told, 0, 'the primary knows nothing of it');
    await leave(one, two);
    assert.ok(await refused({ port: first.port }));
  },

  async data() {
    const [one, two] = [fork(), fork()];
    const { port, data } = await listen(one, 'd', { ...local, data: { ticket: [1, 2] } });
    // It comes back in the answer, and goes to the next worker instead of its own.
    assert.deepStrictEqual(data, { ticket: [1, 2] });
    const other = await listen(two, 'd', { ...local, data: { ticket: [3] } });
    assert.deepStrictEqual(other, { port, data: { ticket: [1, 2] } });
    await leave(one, two);
  },

  async again() {
    const [one, two] = [fork(), fork()];
    const { port } = await listen(one, 's', local);
    for (let n = 0; n < 3; n++) {
      assert.deepStrictEqual(await ask(one, { do: 'close', id: 's' }), { closed: 's' });
      while (!(await refused({ port }))) ; // the primary may hear of it a moment later
      assert.strictEqual((await listen(one, 's', { ...local, port })).port, port);
      assert.strictEqual(await served({ port }), one.id);
    }
    // One closes while the other listens.
    assert.strictEqual((await listen(two, 's', { ...local, port })).port, port);
    await ask(one, { do: 'close', id: 's' });
    for (let n = 0; n < 4; n++) assert.ok([one.id, two.id].includes(await served({ port })));
    // The same twice in one worker.
    const twice = await listen(two, 't', { ...local, port });
    assert.strictEqual(twice.errno, errno.EADDRINUSE);
    assert.ok([one.id, two.id].includes(await served({ port })), 'the first one lives on');
    await leave(one, two);
  },

  // Errors reach the worker that asked; it, and others, may try again.
  async errors() {
    const [one, two] = [fork(), fork()];
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address();
    for (const worker of [one, two]) {
      assert.strictEqual((await listen(worker, 'e', { ...local, port })).errno, errno.EADDRINUSE);
    }
    const nowhere = await listen(one, 'n', { host: '192.0.2.1', port: 0 });
    assert.strictEqual(nowhere.errno, errno.EADDRNOTAVAIL);
    const folderless = path.join(folder, 'no/such/folder');
    const denied = await ask(one, { do: 'listenUnix', id: 'f', path: folderless });
    assert.strictEqual(denied.errno, errno.EACCES);
    server.close();
    await once(server, 'close');
    assert.strictEqual((await listen(two, 'e', { ...local, port })).port, port);
    assert.strictEqual((await listen(one, 'e', { ...local, port })).port, port);
    await leave(one, two);
  },

  // Every client is served though a server closes while connections are on their way.
  async in_flight() {
    const [one, two] = [fork(), fork()];
    const { port } = await listen(one, 's', local);
    assert.strictEqual((await listen(two, 's', local)).port, port);
    // What waits in a worker's own socket is its own affair.
    if (!rr) return leave(one, two);
    const clients = Array.from({ length: 200 }, () => served({ port }));
    one.send({ do: 'close', id: 's' });
    const by = await Promise.all(clients);
    assert.ok(by.every((id) => id === one.id || id === two.id));
    assert.deepStrictEqual(await message(one), { closed: 's' });
    await leave(one, two);
  },

  async goes_without_a_word() {
    const worker = fork();
    worker.send({ do: 'closeChannel' });
    await exits(worker, 0, false);
    const other = fork();
    await ask(other, 'hello');
    other.process.disconnect();
    await exits(other, 0, false);
  },
});
