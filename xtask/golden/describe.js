'use strict';
// Reads the lines of a recording in `advanced` serialization and says what each frame is:
// `what` as Node prints it, and `frame` as JSON where JSON can say it.

const readline = require('node:readline');
const util = require('node:util');
const v8 = require('node:v8');

// As Node's channels read host objects: 0 is a view or buffer, 1 a plain value.
class ChannelDeserializer extends v8.DefaultDeserializer {
  _readHostObject() {
    return this.readUint32() === 0 ? super._readHostObject() : this.readValue();
  }
}

function decode(raw) {
  const bytes = Buffer.from(raw, 'base64');
  const reader = new ChannelDeserializer(bytes.subarray(4));
  reader.readHeader();
  return reader.readValue();
}

// JSON says a value if it comes back the same, `undefined` members apart.
function asJson(value) {
  try {
    const text = JSON.stringify(value);
    return util.isDeepStrictEqual(JSON.parse(text), bare(value)) ? text : undefined;
  } catch {
    return undefined;
  }
}

function bare(value) {
  if (value === null || typeof value !== 'object') return value;
  if (Object.getPrototypeOf(value) !== Object.prototype) return value;
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return Object.fromEntries(members.map(([name, member]) => [name, bare(member)]));
}

// By itself a view prints all of the buffer behind it, here the whole recording.
DataView.prototype[util.inspect.custom] = function() {
  const bytes = Buffer.from(this.buffer, this.byteOffset, this.byteLength);
  return `DataView <${bytes.toString('hex')}>`;
};

const inspection = {
  compact: true,
  depth: null, breakLength: Infinity, maxArrayLength: null, maxStringLength: null,
};

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const record = JSON.parse(line);
  const value = decode(record.raw);
  const json = asJson(value);
  const what = JSON.stringify(util.inspect(value, inspection));
  const frame = json === undefined ? '' : `,"frame":${json}`;
  console.log(`${line.slice(0, -1)},"what":${what}${frame}}`);
});
