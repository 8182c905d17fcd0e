// A Node primary for tests/under_node.rs: runs the Rust worker through one scenario.
'use strict';
const assert = require('node:assert');
const cluster = require('node:cluster');
const dgram = require('node:dgram');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');
const { once } = require('node:events');
const { exits, folder, fork, message, run } = require('./lib.cjs');

async function get(where) {
  const request = http.get({ host: '127.0.0.1', ...where, agent: false });
  const [response] = await once(request, 'response');
  let body = '';
  for await (const chunk of response) body += chunk;
  return body;
}

// Requests until every one of the workers has answered.
async function hear(workers, where) {
  const silent = new Set(workers.map((worker) => `worker ${worker.id}\n`));
  let count = 0;
  while (silent.size > 0 || count < 40) {
    const answers = await Promise.all(Array.from({ length: 10 }, () => get(where)));
    for (const answer of answers) {
      assert.match(answer, /^worker \d+\n$/);
      silent.delete(answer);
    }
    count += answers.length;
  }
}

const scenarios = {
  async serve(way = 'tcp') {
    const workers = [fork(way, '127.0.0.1:0'), fork(way, '127.0.0.1:0')];
    const listening = Promise.all(workers.map((worker) => once(worker, 'listening')));
    const [{ port }, other] = await Promise.all(workers.map(message));
    assert.strictEqual(other.port, port);
    for (const [address] of await listening) {
      assert.strictEqual(address.port, port);
      assert.strictEqual(address.address, '127.0.0.1');
      assert.strictEqual(address.addressType, 4);
      assert.strictEqual(address.fd, undefined);
    }
    await hear(workers, { port });

    for (const said of ['plain ünï\n string', 0, true, null, [1, { a: [] }], { x: { y: -1.5 } }]) {
      workers[0].send(said);
      assert.deepStrictEqual(await message(workers[0]), { echo: said });
    }
    const big = 'x'.repeat(300_000);
    workers[1].send({ big });
    assert.deepStrictEqual(await message(workers[1]), { echo: { big } });

    workers[0].disconnect();
    await exits(workers[0], 0, true);
    await hear([workers[1]], { port });
    workers[1].send({ do: 'disconnect' });
    await exits(workers[1], 0, true);
  },

  evented: () => scenarios.serve('evented'),

  async kill() {
    const worker = fork('tcp', '127.0.0.1:0');
    const { port } = await message(worker);
    await hear([worker], { port });
    worker.send({ do: 'kill' });
    await exits(worker, 0, true);

    const idle = fork('idle');
    assert.strictEqual(await message(idle), 'idle');
    idle.send({ do: 'exit' });
    await exits(idle, 7, false);
  },

  async in_use() {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = `127.0.0.1:${server.address().port}`;
    for (const way of ['tcp', 'evented']) {
      const worker = fork(way, address);
      const { error, errno } = await message(worker);
      assert.match(error, /^cannot listen on 127\.0\.0\.1:\d+: address already in use \(EADDRINUSE\)/);
      assert.strictEqual(errno, require('node:os').constants.errno.EADDRINUSE);
      await exits(worker, 0, true);
    }
    server.close();

    const elsewhere = fork('tcp', '192.0.2.1:7777');
    const { error } = await message(elsewhere);
    assert.match(error, /^cannot listen on 192\.0\.2\.1:7777: address not available/);
    await exits(elsewhere, 0, true);
  },

  async unix() {
    const file = path.join(folder, 's.sock');
    const workers = [fork('unix', file), fork('unix', file)];
    const listening = Promise.all(workers.map((worker) => once(worker, 'listening')));
    for (const worker of workers) {
      assert.deepStrictEqual(await message(worker), { path: file });
    }
    for (const [address] of await listening) {
      assert.deepStrictEqual([address.address, address.port, address.addressType], [file, -1, -1]);
    }
    await hear(workers, { socketPath: file });
    cluster.disconnect();
    await Promise.all(workers.map((worker) => exits(worker, 0, true)));
  },

  async udp() {
    const workers = [fork('udp', '127.0.0.1:0'), fork('udp', '127.0.0.1:0')];
    const [{ port }, other] = await Promise.all(workers.map(message));
    assert.strictEqual(other.port, port);
    const client = dgram.createSocket('udp4');
    for (let n = 0; n < 20; n++) {
      const answered = once(client, 'message');
      client.send(`datagram ${n}`, port, '127.0.0.1');
      const [answer] = await answered;
      assert.match(answer.toString(), new RegExp(`^[12] datagram ${n}$`));
    }
    client.close();
    workers[0].disconnect();
    await exits(workers[0], 0, true);
    workers[1].send({ do: 'disconnect' });
    await exits(workers[1], 0, true);
  },

  // A disconnect waits for the connections that the worker tracks.
  async drain(way = 'tcp') {
    for (const disconnect of [
      (worker) => worker.disconnect(),
      (worker) => worker.send({ do: 'disconnect' }),
    ]) {
      const worker = fork(way, '127.0.0.1:0');
      const { port } = await message(worker);
      const client = net.connect(port, '127.0.0.1');
      client.write('GET / HTTP/1.1\r\n');
      await hear([worker], { port });
      // By now the first connection, too, has been accepted: they come in order.
      disconnect(worker);
      // The channel is open as long as the connection is, and goes on to carry messages.
      let closed = false;
      worker.process.once('disconnect', () => { closed = true; });
      worker.process.send('still there?');
      assert.deepStrictEqual(await message(worker), { echo: 'still there?' });
      assert.strictEqual(closed, false);
      assert.strictEqual(worker.isDead(), false);
      client.write('\r\n');
      const [answer] = await once(client, 'data');
      assert.match(answer.toString(), /worker \d+\n$/);
      await exits(worker, 0, true);
    }
  },

  drain_evented: () => scenarios.drain('evented'),

  // Connections that a worker refuses go to another.
  async full() {
    const workers = [fork('tcp', 'max1:127.0.0.1:0'), fork('tcp', 'max1:127.0.0.1:0')];
    const [{ port }] = await Promise.all(workers.map(message));
    const clients = [0, 1].map(() => net.connect(port, '127.0.0.1'));
    clients.forEach((client) => client.write('GET / HTTP/1.1\r\n\r'));
    const answers = clients.map((client) => once(client, 'data'));
    clients.forEach((client) => client.write('\n'));
    for (const answer of answers) assert.match((await answer).toString(), /worker [12]\n$/);
    cluster.disconnect();
    await Promise.all(workers.map((worker) => exits(worker, 0, true)));
  },

  // Requests both ways, by nothing but messages.
  async requests() {
    const worker = fork('idle');
    assert.strictEqual(await message(worker), 'idle');
    worker.send({ cmd: 'CLUSTER_REQUEST', id: 3, body: { n: [21] } });
    assert.deepStrictEqual(await message(worker),
      { cmd: 'CLUSTER_RESPONSE', id: 3, body: { n: [21] } });
    for (const [answer, heard] of [
      [{ body: 'Ada' }, 'Ada'],
      [{ error: 'nobody' }, 'the primary gave no answer: it was refused: nobody'],
      [{ error: { message: 'gone' } }, 'the primary gave no answer: it was refused: gone'],
      [{ body: 7 }, "the primary's answer is not what was expected: it is integer `7`, expected a string"],
    ]) {
      worker.send({ do: 'ask' });
      const { cmd, id, body } = await message(worker);
      assert.deepStrictEqual([cmd, body], ['CLUSTER_REQUEST', ['who is', 7]]);
      worker.send({ cmd: 'CLUSTER_RESPONSE', id, ...answer });
      assert.deepStrictEqual(await message(worker), { heard });
    }
    worker.send({ do: 'ask' });
    assert.strictEqual((await message(worker)).cmd, 'CLUSTER_REQUEST');
    worker.disconnect();
    await exits(worker, 0, true);
  },

  // The test kills this process, and looks whether these go with it.
  async orphans() {
    const workers = [fork('tcp', '127.0.0.1:0'), fork('evented', '127.0.0.1:0'), fork('idle')];
    await Promise.all(workers.map(message));
    console.log(`pids ${workers.map((worker) => worker.process.pid).join(' ')}`);
    await new Promise(() => setInterval(() => {}, 1000));
  },
};

run(scenarios);
