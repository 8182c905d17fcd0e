// Preloaded as `--import data:text/javascript,…` where no file can be preloaded.
// Reads the agent from an inherited descriptor and runs it as CommonJS.
// Each comment must have a line of its own: the primary removes such lines.
// There are no import statements: importing node:fs loads a dozen more built-in
// modules than requiring it, and import.meta loads one as well.
const { env, execArgv: argv } = process;
// Worker threads run the preload as well, and inherit execArgv: remove our
// entry there too. Ours is always the first one, and contains this name.
const name = 'cluster-agent';
const isOurs = (text) => text?.startsWith('data:text/javascript,') && decodeURIComponent(text).includes(name);
if (argv[0] === '--import' && isOurs(argv[1])) argv.splice(0, 2);
else if (argv[0]?.startsWith('--import=') && isOurs(argv[0].slice(9))) argv.splice(0, 1);
const number = env.CLUSTER_AGENT_SCRIPT_FD;
if (number !== undefined) {
  try {
    const require = process.getBuiltinModule ?? (await import('node:module')).createRequire('/');
    const fs = require('fs');
    const fd = Number(number);
    const chunks = [];
    // The offset of the descriptor is shared with other processes: read by position.
    for (let position = 0; ;) {
      const chunk = Buffer.allocUnsafe(65536);
      const length = fs.readSync(fd, chunk, 0, chunk.length, position);
      if (length === 0) break;
      chunks.push(chunk.subarray(0, length));
      position += length;
    }
    fs.closeSync(fd);
    const module = { exports: {} };
    const names = ['exports', 'require', 'module', '__filename', '__dirname'];
    require('vm').compileFunction(Buffer.concat(chunks).toString(), names, { filename: name })
      .call(module.exports, module.exports, require, module, undefined, undefined);
  } catch {
    // The agent could not be read: undo what it would have undone.
    const saved = env.CLUSTER_AGENT_NODE_OPTIONS;
    if (saved?.[0] === '=') env.NODE_OPTIONS = saved.slice(1);
    else if (saved !== undefined) delete env.NODE_OPTIONS;
    delete env.CLUSTER_AGENT_FD;
    delete env.CLUSTER_AGENT_SCRIPT_FD;
    delete env.CLUSTER_AGENT_NODE_OPTIONS;
  }
}
