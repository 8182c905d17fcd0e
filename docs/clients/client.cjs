// A client of cluster's control API in Node.js, without dependencies.
//
//   cluster serve --control /tmp/app.sock &
//   node client.cjs /tmp/app.sock server.js
'use strict';
const net = require('node:net');
const readline = require('node:readline');
const { EventEmitter, once } = require('node:events');

// A connection to a primary. Emits what the primary sees: 'fork', 'online', 'listening', 'message', …
class Cluster extends EventEmitter {
  #socket;
  #calls = new Map();
  #last = 0;

  constructor(path) {
    super();
    this.#socket = net.connect(path);
    readline.createInterface({ input: this.#socket }).on('line', (line) => {
      const { id, result, error, params } = JSON.parse(line);
      if (params) return this.emit(params.type, params);
      if (error) this.#fail(id, Object.assign(new Error(error.message), { code: error.data?.code }));
      else this.#calls.get(id)?.resolve(result);
      this.#calls.delete(id);
    });
    this.#socket.on('close', () => {
      this.#fail(null, new Error('the primary has gone'));
      this.emit('close');
    });
  }

  // The id is null where the primary could not tell whose call it was (a line over 64 MiB): then all fail.
  #fail(id, error) {
    for (const [of, { reject }] of [...this.#calls]) {
      if (id !== null && of !== id) continue;
      this.#calls.delete(of);
      reject(error);
    }
  }

  // Calls a method; resolves to its result.
  call(method, params = {}) {
    const id = ++this.#last;
    this.#socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`);
    return new Promise((resolve, reject) => this.#calls.set(id, { resolve, reject }));
  }

  close() {
    this.#socket.end();
  }
}

async function main(path, script) {
  const cluster = new Cluster(path);
  await cluster.call('subscribe', { events: ['listening', 'message', 'exit'] });
  cluster.on('message', ({ worker, message }) => console.log(`worker ${worker}:`, message));
  cluster.on('exit', ({ worker, code, signal }) => console.log(`worker ${worker} exit:`, signal ?? code));

  await cluster.call('setupPrimary', { exec: script });
  const listening = once(cluster, 'listening');
  const { worker } = await cluster.call('fork', { env: { GREETING: 'hello' } });
  const [{ address }] = await listening;
  console.log(`worker ${worker} listens on port ${address.port}`);
  const answered = once(cluster, 'message');
  await cluster.call('send', { worker, message: { question: 'who are you?' } });
  await answered;
  await cluster.call('kill', { worker, signal: 'SIGFOO' }).catch(({ code }) => console.log(code));
  await cluster.call('disconnect');
  console.log('all have disconnected');
  await cluster.call('stop');
  cluster.close();
}

module.exports = { Cluster };
if (require.main === module) main(...process.argv.slice(2));
