// What both ends of users' messages need, for `cargo xtask bench`.
'use strict';

exports.SMALL = 64;
exports.LARGE = 1 << 20;
/** Messages that are on their way there and back at any time, where it is not one. */
exports.AT_ONCE = 64;
/** Of one large message. */
exports.MEGABYTES = exports.LARGE / 1e6;

/** Bytes that are sent before it is waited until they are written: Node's own mark of 64 KiB. */
const UNWRITTEN = 1 << 16;

/**
 * Sends `text` to a process as fast as it takes it, for so long; resolves to how often. `send()` says
 * false when too much waits, but not when to go on: only its callback does. One on each message would
 * cost more than the message, so the last of each batch has one.
 */
exports.flood = async (to, text, ms) => {
  const batch = Math.max(1, Math.floor(UNWRITTEN / text.length));
  const end = performance.now() + ms;
  let sent = 0;
  while (performance.now() < end) {
    for (let n = 1; n < batch; n++) to.send(text);
    await new Promise((resolve, reject) => {
      to.send(text, (error) => error ? reject(error) : resolve());
    });
    sent += batch;
  }
  return sent;
};
