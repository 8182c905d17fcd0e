// An actor's line to the stage that directs it: orders come in, answers and notes go out, each an
// object in JSON on a line of its own.
'use strict';
const fs = require('node:fs');
const net = require('node:net');

// `orders` maps what can be ordered to functions; each returns its answer, or a promise of it.
function link(hello, orders) {
  const socket = net.connect(process.env.COMPAT_STAGE);
  // What is said in the last moment of a process must be heard too.
  // (Deno does not tell the descriptor.)
  const fd = socket._handle?.fd;
  const say = (what) => {
    const line = `${JSON.stringify(what)}\n`;
    if (fd >= 0) fs.writeSync(fd, line);
    else socket.write(line);
  };
  // Calls back when all is said.
  const said = (then) => (fd >= 0 ? then() : socket.write('', then));
  say(hello);
  let rest = '';
  socket.setEncoding('utf8').on('data', (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      const { n, do: what, ...order } = JSON.parse(line);
      let answered = false;
      const answer = (is) => {
        if (!answered) say({ n, is: is ?? null });
        answered = true;
      };
      const failed = (error) => answer({ error: error.code ?? String(error) });
      try {
        const is = orders[what](order, answer);
        if (is instanceof Promise) is.then(answer, failed);
        else answer(is);
      } catch (error) {
        failed(error);
      }
    }
  });
  return { note: (event, members) => say({ event, ...members }), said, socket };
}

// The format in which values beyond JSON stand in JSON, as far as the scenarios need it; and long
// strings, which would clog this line, by how often their one character stands in them.
function tagged(value) {
  const tag = (type, inner, more) => ({ $type: type, value: inner, ...more });
  if (value === undefined) return { $type: 'undefined' };
  if (typeof value === 'bigint') return tag('BigInt', value.toString(16));
  if (typeof value === 'number' && (!Number.isFinite(value) || Object.is(value, -0))) {
    return tag('Number', Object.is(value, -0) ? '-0' : String(value));
  }
  if (typeof value === 'string' && value.length > 1000 && value === value[0].repeat(value.length)) {
    return tag('repeated', value[0], { times: value.length });
  }
  if (typeof value === 'string' && /\p{Surrogate}/u.test(value)) {
    return tag('Utf16', value.split('').map((unit) => unit.charCodeAt(0)));
  }
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(tagged);
  if (value instanceof Map) return tag('Map', [...value].map(tagged));
  if (value instanceof Set) return tag('Set', [...value].map(tagged));
  if (value instanceof Date) return tag('Date', value.getTime());
  if (value instanceof RegExp) return tag('RegExp', value.source, { flags: value.flags });
  if (value instanceof Error) {
    // Where it was made is not the same in two programs.
    const cause = Object.hasOwn(value, 'cause') ? { cause: tagged(value.cause) } : {};
    return tag(value.name, value.message, cause);
  }
  if (Buffer.isBuffer(value)) return tag('Buffer', value.toString('base64'));
  if (ArrayBuffer.isView(value)) {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    return tag(value.constructor.name, bytes.toString('base64'));
  }
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, tagged(inner)]));
}

function untagged(value) {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(untagged);
  const inner = value.value;
  switch (value.$type) {
    case undefined:
      return Object.fromEntries(Object.entries(value).map(([name, v]) => [name, untagged(v)]));
    case 'undefined':
      return undefined;
    case 'repeated':
      return inner.repeat(value.times);
    case 'Utf16':
      return String.fromCharCode(...inner);
    case 'BigInt':
      return inner.startsWith('-') ? -BigInt(`0x${inner.slice(1)}`) : BigInt(`0x${inner}`);
    case 'Number':
      return Number(inner);
    case 'Map':
      return new Map(inner.map(untagged));
    case 'Set':
      return new Set(inner.map(untagged));
    case 'Date':
      return new Date(inner);
    case 'RegExp':
      return new RegExp(inner, value.flags);
    case 'Buffer':
      return Buffer.from(inner, 'base64');
    default:
      if (value.$type.endsWith('Error')) {
        const cause = 'cause' in value ? { cause: untagged(value.cause) } : undefined;
        const error = new globalThis[value.$type](inner, cause);
        delete error.stack;
        return error;
      }
      return new globalThis[value.$type](Uint8Array.from(Buffer.from(inner, 'base64')).buffer);
  }
}

module.exports = { link, tagged, untagged };
