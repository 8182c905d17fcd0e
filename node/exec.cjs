'use strict';
// Preloaded into the process of a program that uses node:cluster, its primary half: the *script* of `cluster exec`.
//
// The script keeps Node's own primary half of node:cluster. Only how a worker starts is ours: the process that Node
// spawns is `cluster exec-worker`, which gives the script's end of its IPC channel to the Rust primary, takes one that
// leads to the primary in its place, and then executes the worker's program. So the worker is the script's child, with
// the pid, streams and exit status that Node knows, while its channel leads through the primary: that serves what the
// worker listens on, and passes everything else on in both directions.

// Where there is no `cluster exec` (`cluster exec --preload` has written this file): the program `cluster`, and its
// options. It is asked to start a primary when the first worker is forked.
const PROGRAM = null;
const OPTIONS = [];

const { isMainThread } = require('node:worker_threads');

// Of `cluster exec`: the process that it became, the program `cluster`, and the primary's socket.
const [pid, program, socket] = (process.env.CLUSTER_EXEC ?? '').split('\n');
delete process.env.CLUSTER_EXEC;
forgetPreload();
if (isMainThread && process.env.NODE_UNIQUE_ID === undefined) {
  if (Number(pid) === process.pid) install(() => ({ program, socket }));
  else if (PROGRAM !== null) install(startPrimary);
}

// Neither the script nor its workers (cluster.settings.execArgv) see the option that preloads this file.
function forgetPreload() {
  for (let at = 0; at < process.execArgv.length; at += 1) {
    const [option, value] = process.execArgv[at].split('=', 2);
    if (!['-r', '--require', '--import'].includes(option)) continue;
    const inline = value !== undefined;
    const file = inline ? value : process.execArgv[at + 1];
    if (file !== __filename) continue;
    process.execArgv.splice(at, inline ? 1 : 2);
    return;
  }
}

function startPrimary() {
  const { spawnSync } = require('node:child_process');
  const args = ['exec-attach', ...OPTIONS, '--script', String(process.pid), '--program', process.argv[1] ?? 'script'];
  const started = spawnSync(PROGRAM, args, { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' });
  if (started.error) throw started.error;
  if (started.status !== 0) throw new Error('cluster exec: the primary could not be started; why stands above');
  return { program: PROGRAM, socket: started.stdout };
}

function install(findPrimary) {
  const childProcess = require('node:child_process');
  const { fork } = childProcess;
  let primary;
  // Node's primary half takes the function when it is loaded, which is now. The program gets Node's own.
  childProcess.fork = start;
  let cluster;
  try {
    cluster = require('node:cluster');
  } finally {
    childProcess.fork = fork;
  }

  function start(modulePath, args, options) {
    if (primary === undefined) {
      primary = findPrimary();
      endWithPrimary(primary.socket);
    }
    const { env, execArgv } = options;
    const { program, socket } = primary;
    const execPath = options.execPath ?? process.execPath;
    const worker = ['exec-worker', socket, env.NODE_UNIQUE_ID, String(cluster.schedulingPolicy), '--', execPath];
    const child = fork(modulePath, args, { ...options, execPath: program, execArgv: [...worker, ...execArgv] });
    // What Node would have started.
    child.spawnfile = execPath;
    child.spawnargs = [execPath, ...child.spawnargs.slice(1 + worker.length)];
    if (child.pid === undefined) nameProgram(child, program, execPath);
    else exitAfterMessages(child);
    return child;
  }
}

// Node's primary is the script: when it is killed, so is the script. Ours is another process.
function endWithPrimary(path) {
  const connection = require('node:net').connect(path);
  connection.unref();
  connection.on('error', () => {});
  connection.on('close', () => {
    // It could not remove its folder.
    require('node:fs').rmSync(require('node:path').dirname(path), { recursive: true, force: true });
    process.stderr.write('cluster: the primary has ended unexpectedly, and the script ends with it\n');
    process.kill(process.pid, 'SIGKILL');
  });
}

// It could not be started. The error names the program that Node would have started.
function nameProgram(child, program, execPath) {
  const { emit } = child;
  child.emit = function(event, error, ...rest) {
    if (event === 'error') {
      delete child.emit;
      error.path = execPath;
      error.syscall = error.syscall?.replace(program, execPath);
      error.message = error.message.replace(program, execPath);
      error.stack = error.stack?.replace(program, execPath);
      error.spawnargs = child.spawnargs.slice(1);
    }
    return emit.call(this, event, error, ...rest);
  };
}

// Messages take a way that is longer than the exit's: what a worker wrote before it exited comes before 'exit', as it
// does on a channel of its own. The primary closes the channel once it has passed on everything.
function exitAfterMessages(child) {
  const handle = child._handle;
  const { onexit } = handle;
  handle.onexit = (...status) => {
    const exit = () => Reflect.apply(onexit, handle, status);
    if (child.connected) child.once('disconnect', () => process.nextTick(exit));
    else exit();
  };
}
