'use strict';
// The values of the recordings of user messages.

// What JSON can say, or Node makes of what it cannot.
exports.json = () => [
  null, true, false,
  0, -0, 1, -1, 1.5, -2.25, 1e21, 1e-7, 5e-324, 1.7976931348623157e308,
  2 ** 31, -(2 ** 31), 2 ** 32, 2 ** 53, 2 ** 53 - 1, -(2 ** 53), 123456789012345680000,
  NaN, Infinity,
  '', 'plain', 'ünï ☃ 😀', '"\\/\b\f\n\r\t', '\u0000\u001f\u007f\u0080', '\u2028\u2029\ufeff',
  '\ud800', 'a\udc00b', '\ude00\ud83d',
  [], [[]], {}, { '': 0 }, { a: { b: { c: [1, { d: null }, [true]] } } },
  [1, 'two', null, true, 3.5],
  { undefined, function() {}, nan: NaN, date: new Date(0), holes: [, 1, undefined] },
  JSON.parse('{"__proto__":1,"constructor":2,"hasOwnProperty":3}'),
  { 10: 'b', 9: 'a', z: 1, a: 2 },
  { 'k\u0000\n"\ud800': 'key' },
  Buffer.from('bytes'), new Uint8Array([1, 2]), new Map([[1, 2]]), new Error('lost'),
  { cmd: 'NODE_' }, { cmd: 'NODE' }, { cmd: 'node_x' }, { cmd: 5 }, { cmd: null }, { cmd: {} },
  { ack: 1, seq: 2, act: 'online' }, ['NODE_CLUSTER'], 'NODE_HANDLE_ACK',
  JSON.parse(`${'['.repeat(64)}${']'.repeat(64)}`),
];

// What only structured clones can say.
exports.advanced = () => {
  const pooled = Buffer.from('a slice of the pool').subarray(2, 7);
  const shared = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);
  const cycle = { name: 'cycle' };
  cycle.self = cycle;
  const twin = { twin: true };
  const withProps = [1, 2];
  withProps.extra = 'x';
  const sparse = [];
  sparse[5] = 'five';
  class Point {
    constructor() {
      this.x = 1;
    }
  }
  const views = [
    Uint8Array, Int8Array, Uint8ClampedArray, Uint16Array, Int16Array, Uint32Array, Int32Array,
    Float32Array, Float64Array, BigInt64Array, BigUint64Array, globalThis.Float16Array,
  ].filter(Boolean);
  const one = (View) => (View.name.startsWith('Big') ? 1n : 1);
  return [
    ...exports.json().filter((value) => !(value instanceof Error) && !hasFunction(value)),
    2 ** 30 - 1, 2 ** 30, -(2 ** 30), -(2 ** 30) - 1, 2 ** 31 - 1, 2 ** 32 - 1,
    'latin-1: é', 'two bytes: ☃', 'x'.repeat(200), '☃'.repeat(100),
    { undefined },
    [undefined, , null], sparse, withProps, new Array(3),
    { big: 0n, more: [1n, -1n, 2n ** 64n, -(2n ** 64n) - 1n, 2n ** 200n] },
    { date: new Date(1e12), invalid: new Date(NaN) },
    { regexp: /a[b]+\/☃/giu },
    new Map([['k', 'v'], [{ deep: 1 }, new Set([1, 'x', null])]]), new Set(), new Map(),
    [Object(1), Object('s'), Object(true), Object(false), Object(7n)],
    Buffer.alloc(0), pooled, { nested: [Buffer.from([0, 255]), 'after'] },
    ...views.map((View) => new View([one(View), one(View)])),
    new DataView(new Uint8Array([9, 8, 7]).buffer, 1, 2),
    new Float64Array([NaN, -0, Infinity, 1.5]),
    [shared, new Uint8Array(shared.buffer, 2, 3), shared],
    new ArrayBuffer(0), new Uint8Array([1, 2, 3]).buffer, { buffer: shared.buffer, shared },
    cycle, [twin, twin], new Point(),
    ...errors(),
  ];
};

function hasFunction(value) {
  return value && Object.values(value).some((member) => typeof member === 'function');
}

// With stacks of their own making: a real one names files.
function errors() {
  const plain = new Error('plain');
  const typed = new TypeError('typed ☃');
  const ranged = new RangeError('with a cause', { cause: { why: [1] } });
  const named = new Error('named');
  named.name = 'CustomError';
  named.code = 'E_CUSTOM';
  const bare = new Error();
  const all = [plain, typed, ranged, named, bare];
  for (const error of all) error.stack = `${error}\n    at recorded`;
  const stackless = new SyntaxError('no stack');
  stackless.stack = undefined;
  return [...all, stackless, { error: plain, again: plain }];
}
