'use strict';

// Runs programs with and without the agent, in each way of injection, and
// compares what they print. Every difference that is accepted is named below.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { start, temporary, MAJOR, WAYS } = require('./helper.cjs');

const program = (name) => path.join(__dirname, 'programs', name);
const FOLDER = __dirname;
const OPTION_WAYS = ['options', 'options-data'];
const COMMAND_WAYS = ['require', 'data'];

// `--import` (the ways with `data`) makes Node run a CommonJS main through the
// ESM loader. These follow from that, whatever is imported.
const IMPORT_CJS = [
  'modules.parent', // undefined instead of null
  'modules.id', // the file name instead of '.'
  'order', // microtasks run before nextTicks
  'loaded', // vm, and the ESM loader's built-in modules
  'children.threads.inherited.modules.parent', // worker threads repeat the --import
  'children.threads.shared.modules.parent',
  'children.threads.inherited.modules.id',
  'children.threads.shared.modules.id',
  'environment.listeners.exit', 'children.threads.inherited.environment.listeners.exit',
  'children.threads.shared.environment.listeners.exit', // Node 20 listens while the ESM loader runs
  'activity.resources', // the loader's promise and file requests
  'activity.requests',
  'environment.stack', // frames of the loader
];
const IMPORT_ESM = ['loaded', ...IMPORT_CJS.filter((name) => name.startsWith('children.'))];
const IMPORT_FAIL = ['stderr']; // stack frames of the loader

const permission = MAJOR === 20 ? '--experimental-permission' : '--permission';
const allowNet = process.allowedNodeEnvironmentFlags.has('--allow-net') ? ['--allow-net'] : [];
const tsx = process.env.AGENT_TEST_TSX && path.join(process.env.AGENT_TEST_TSX, 'node_modules/tsx/dist/loader.mjs');

const cases = [
  { name: 'CommonJS', args: ['main.cjs', 'serving', 'children'], except: IMPORT_CJS },
  // async_hooks sees the writes of the reports.
  { name: 'while the agent reports', args: ['main.cjs', 'serving'], except: IMPORT_CJS, unstable: ['serving.types'],
    configure: { report: 3, connections: 2 } },
  { name: 'two pipes', args: ['main.cjs', 'serving', 'children'], except: IMPORT_CJS, pipes: true },
  { name: 'two pipes while the agent reports', args: ['main.cjs', 'serving'], except: IMPORT_CJS, unstable: ['serving.types'],
    configure: { report: 3, connections: 2 }, pipes: true },
  { name: 'two pipes without a reader', args: ['main.cjs', 'serving'], except: IMPORT_CJS, off: true, pipes: true, deaf: true },
  { name: 'ESM', args: ['main.mjs', 'serving', 'children'], except: IMPORT_ESM },
  { name: 'NODE_OPTIONS of the program', args: ['main.cjs', 'children'], nodeOptions: '--no-warnings  --stack-trace-limit=7 ', except: IMPORT_CJS },
  { name: 'empty NODE_OPTIONS', args: ['main.cjs'], nodeOptions: '', except: IMPORT_CJS },
  { name: 'preload in NODE_OPTIONS', args: ['main.cjs'], nodeOptions: `-r ${program('hook.cjs')}`, except: IMPORT_CJS,
    // Preloads of NODE_OPTIONS run before those of the command line, and see them.
    skip: COMMAND_WAYS },
  { name: 'require hook', args: ['main.ts'], execArgv: ['-r', program('hook.cjs')], except: IMPORT_CJS,
    // ERR_UNKNOWN_FILE_EXTENSION, or Node's own handling of types.
    skip: ['data', 'options-data'] },
  { name: 'two preloads', args: ['main.cjs', 'a', '-r', 'b'], execArgv: ['--require', program('hook.cjs'), '-r', program('hook.cjs')], except: IMPORT_CJS },
  { name: '--import', args: ['main.cjs'], execArgv: ['--import', program('import.mjs')], except: ['loaded'] },
  { name: '--import with ESM', args: ['main.mjs'], execArgv: ['--import', program('import.mjs')], except: ['loaded'] },
  { name: '--disallow-code-generation-from-strings', args: ['eval.cjs'], execArgv: ['--disallow-code-generation-from-strings'], except: IMPORT_CJS },
  // The warning that these print before the main opens standard error early.
  { name: 'permission model', args: ['main.cjs'], execArgv: [permission, `--allow-fs-read=${FOLDER}/*`, ...allowNet],
    except: [...IMPORT_CJS, 'activity.handles'],
    // Node 20 does not load the agent from outside the allowed folders.
    skip: MAJOR === 20 ? ['require', 'options'] : [] },
  ...(allowNet.length === 0 ? [] : [{ name: 'permission model without network', args: ['main.cjs'], off: true,
    execArgv: [permission, `--allow-fs-read=${FOLDER}/*`], except: [...IMPORT_CJS, 'activity.handles'] }]),
  { name: '--inspect', args: ['main.cjs'], execArgv: ['--inspect=0'], except: IMPORT_CJS },
  { name: '--enable-source-maps', args: ['main.cjs'], execArgv: ['--enable-source-maps'], except: IMPORT_CJS },
  { name: '--pending-deprecation', args: ['main.cjs'], execArgv: ['--pending-deprecation'], except: IMPORT_CJS },
  { name: '--frozen-intrinsics', args: ['main.cjs', 'serving'], execArgv: ['--frozen-intrinsics'],
    except: [...IMPORT_CJS, 'activity.handles'] },
  { name: '--disable-proto', args: ['main.cjs', 'serving'], execArgv: ['--disable-proto=throw'], except: IMPORT_CJS },
  { name: '--throw-deprecation', args: ['main.cjs', 'serving'], execArgv: ['--throw-deprecation', '--trace-warnings'], except: IMPORT_CJS },
  ...['throw', 'tick', 'timer', 'reject', 'value', 'syntax', 'missing', 'exit', 'code', 'signal', 'abort', 'warning', 'handler']
    .map((way) => ({ name: `end: ${way}`, args: ['fail.cjs', way], except: IMPORT_FAIL })),
  { name: 'end: throw with source maps', args: ['fail.cjs', 'throw'], execArgv: ['--enable-source-maps'], except: IMPORT_FAIL },
  { name: 'end: ESM throw', args: ['await.mjs', 'throw'], except: [] },
  { name: 'end: ESM unsettled await', args: ['await.mjs', 'wait'], except: [] },
];

/// All paths at which two values differ.
function differences(one, other, at = '') {
  if (one === null || other === null || typeof one !== 'object' || typeof other !== 'object') {
    return Object.is(one, other) ? [] : [at];
  }
  if (Array.isArray(one) || Array.isArray(other)) {
    return JSON.stringify(one) === JSON.stringify(other) ? [] : [at];
  }
  return [...new Set([...Object.keys(one), ...Object.keys(other)])]
    .flatMap((key) => differences(one[key], other[key], at === '' ? key : `${at}.${key}`));
}

async function observe(spec, way) {
  const { execArgv = [], nodeOptions, env, pipes, deaf } = spec;
  const worker = spec.command
    ? start(spec.args, { way, command: spec.command, nodeOptions, env })
    : start([program(spec.args[0]), ...spec.args.slice(1)], { way, execArgv, nodeOptions, env, pipes, deaf });
  if (spec.configure && way !== null) worker.agent.send({ configure: spec.configure });
  await worker.closed();
  let printed = worker.stdout;
  try {
    printed = JSON.parse(printed);
  } catch { /* not JSON: compared as text */ }
  const stderr = worker.stderr.replace(/ws:\S+/g, 'ws:(address)').replace(/\(node:\d+\)/g, '(node:pid)');
  const seen = typeof printed === 'object' ? printed : { stdout: printed };
  if (spec.configure && way !== null) assert.ok(worker.agent.all.some((m) => m.report), 'no report');
  return { seen: { ...seen, stderr, exit: worker.exit }, hello: worker.agent?.all[0]?.hello };
}

function compare(spec, expected, actual, way) {
  const except = [...(spec.unstable ?? []), ...(way.endsWith('data') ? spec.except : [])];
  const found = differences(expected.seen, actual.seen).filter((name) => !except.includes(name));
  const show = (result, name) => JSON.stringify(name.split('.').reduce((object, key) => object?.[key], result.seen));
  assert.equal(actual.hello === undefined, spec.off === true, `${way}: hello`);
  assert.deepEqual(found, [], found.map((name) => `${way}: ${name}\n  without: ${show(expected, name)}\n  with:    ${show(actual, name)}`).join('\n'));
}

async function check(spec, ways) {
  const used = ways.filter((way) => !spec.skip?.includes(way));
  const [expected, ...actual] = await Promise.all([null, ...used].map((way) => observe(spec, way)));
  if (spec.args[0].startsWith('main') || spec.command) assert.equal(expected.seen.exit.code, 0, expected.seen.stderr);
  used.forEach((way, index) => compare(spec, expected, actual[index], way));
}

for (const spec of cases) {
  test(`invisible: ${spec.name}`, () => check(spec, WAYS));
}

test('invisible: script started by its shebang', async () => {
  const folder = temporary();
  const script = path.join(folder, 'script');
  fs.writeFileSync(script, `#!/usr/bin/env -S node --no-warnings\n'use strict';\nrequire(${JSON.stringify(program('observe.cjs'))}).run(module, require, ['children']);\n`, { mode: 0o755 });
  const env = { PATH: `${path.dirname(process.execPath)}:${process.env.PATH}` };
  for (const nodeOptions of [undefined, '', '--stack-trace-limit=8']) {
    await check({ command: script, args: ['x'], env, nodeOptions, except: IMPORT_CJS }, OPTION_WAYS);
  }
});

test('invisible: --import tsx', { skip: tsx && fs.existsSync(tsx) ? false : 'AGENT_TEST_TSX names no folder with tsx' }, async () => {
  // tsx has file requests of its own under way, which end at any time.
  const unstable = ['activity', 'finally.activity'].flatMap((name) => [`${name}.resources`, `${name}.requests`]);
  const execArgv = ['--import', `file://${tsx}`];
  await check({ args: ['typed.ts', 'children'], execArgv, except: ['loaded'], unstable }, COMMAND_WAYS);
  await check({ args: ['main.ts'], execArgv, except: ['loaded'], unstable }, WAYS);
});

// Differences are found at all.
test('the comparison sees a difference', async () => {
  const expected = await observe({ args: ['main.cjs'] }, null);
  const actual = await observe({ args: ['main.cjs', 'more'] }, 'require');
  assert.throws(() => compare({ except: [] }, expected, actual, 'require'), /environment\.argv/);
});
