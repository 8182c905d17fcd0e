// A primary that does as it is told: Node's own side of the comparison.
'use strict';
const cluster = require('node:cluster');
const { link, tagged, untagged } = require('./link.cjs');
const { Sockets } = require('./sockets.cjs');

const sockets = new Sockets('the primary');
// Every worker that there was: `cluster.workers` forgets them.
const known = new Map();
const program = JSON.parse(process.env.COMPAT_WORKER);

function settings() {
  const { args, execArgv, cwd, silent, serialization } = cluster.settings;
  return { args, execArgv, cwd: cwd ?? null, silent: !!silent, serialization: serialization ?? 'json' };
}

const orders = {
  setup({ settings: changes, program: with_program }) {
    const exec = with_program ? { exec: program.exec } : {};
    cluster.setupPrimary({ ...exec, ...changes });
    return settings();
  },
  settings,
  policy: () => (cluster.schedulingPolicy === cluster.SCHED_RR ? 'rr' : 'none'),
  setPolicy({ policy }) {
    cluster.schedulingPolicy = policy === 'rr' ? cluster.SCHED_RR : cluster.SCHED_NONE;
  },
  fork({ env }) {
    // cluster.fork() takes no execPath: it starts this.
    const node = process.execPath;
    process.execPath = program.execPath;
    try {
      const worker = cluster.fork(env);
      known.set(worker.id, worker);
      worker.on('error', (error) => note('error', { worker: worker.id, code: error.code }));
      for (const [fd, stream] of [[1, worker.process.stdout], [2, worker.process.stderr]]) {
        stream?.setEncoding('utf8').on('data', (data) => note('stdio', { worker: worker.id, fd, data }));
      }
      return { worker: worker.id, pid: worker.process.pid };
    } finally {
      process.execPath = node;
    }
  },
  send({ worker, message }, answer) {
    const callback = (error) => answer(error ? { error: error.code } : 'written');
    known.get(worker).send(untagged(message), callback);
    return new Promise(() => {});
  },
  sendHandle: ({ worker, ...what }) => sockets.send(known.get(worker), what),
  make: (what) => sockets.make(what),
  say: (what) => sockets.say(what),
  disconnect: ({ worker }) => void known.get(worker).disconnect(),
  disconnectAll: () => void cluster.disconnect(() => note('disconnected')),
  closeChannel: ({ worker }) => void known.get(worker).process.disconnect(),
  kill({ worker, signal }) {
    // It returns nothing; what it calls does.
    let sent;
    const { process } = known.get(worker);
    const kill = process.kill.bind(process);
    process.kill = (signal) => (sent = kill(signal));
    try {
      known.get(worker).kill(signal);
    } finally {
      delete process.kill;
    }
    return sent;
  },
  workers: () => Object.keys(cluster.workers).map(Number),
  state({ worker }) {
    if (!(worker in cluster.workers)) return null;
    const { exitedAfterDisconnect = null, state, process: { pid } } = known.get(worker);
    const [connected, dead] = [known.get(worker).isConnected(), known.get(worker).isDead()];
    return { pid, state, connected, dead, exitedAfterDisconnect };
  },
  quit(_, answer) {
    answer(null);
    process.exit(0);
  },
};

const { note } = link({ hello: 'primary' }, orders);
cluster.on('setup', () => note('setup', { settings: settings() }));
cluster.on('fork', ({ id: worker, process: { pid } }) => note('fork', { worker, pid }));
cluster.on('online', ({ id: worker }) => note('online', { worker }));
cluster.on('listening', ({ id: worker }, { address, port, addressType, fd }) => {
  note('listening', { worker, address, port, addressType, fd: fd >= 0 ? fd : undefined });
});
cluster.on('message', ({ id: worker }, message, handle) => {
  note('message', { worker, message: tagged(message), handle: sockets.use(handle) });
});
cluster.on('disconnect', ({ id: worker, exitedAfterDisconnect }) => {
  note('disconnect', { worker, exitedAfterDisconnect });
});
cluster.on('exit', ({ id: worker, exitedAfterDisconnect }, code, signal) => {
  note('exit', { worker, code, signal, exitedAfterDisconnect });
});
