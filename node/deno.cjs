'use strict';

// What the Rust primary preloads into Deno workers: a server of node:http that closes, as it does when
// the worker is to disconnect, has its clients' connections close with the responses that follow.
// Without that a client that keeps a connection busy keeps the worker until it is killed. Connections
// that are idle Deno closes itself.

(function () {
  // The program, and its own children, see the variables that they would see without; if the program
  // may not read variables, it does not see these either.
  const { Deno } = globalThis;
  if (Deno === undefined) return;
  if (Deno.permissions.querySync({ name: 'env' }).state === 'granted') {
    const before = process.env.CLUSTER_AGENT_NODE_OPTIONS;
    if (before !== undefined) {
      delete process.env.CLUSTER_AGENT_NODE_OPTIONS;
      if (before === '-') delete process.env.NODE_OPTIONS;
      else process.env.NODE_OPTIONS = before.slice(1);
    }
  }

  const { prototype } = require('node:http').Server;
  const responses = new WeakMap(); // those of each server that are not finished
  const closing = new WeakSet();
  const define = (name, value) => {
    Object.defineProperty(prototype, name, { value, configurable: true, writable: true });
  };
  const last = (response) => {
    response.shouldKeepAlive = false;
  };

  // Not by listeners: libraries take a server's listeners away and call them themselves.
  const { emit, close } = prototype;
  define('emit', function (event, ...values) {
    if (event === 'request' || event === 'checkContinue' || event === 'checkExpectation') {
      const response = values[1];
      if (closing.has(this)) {
        last(response);
      } else {
        if (!responses.has(this)) responses.set(this, new Set());
        const open = responses.get(this);
        open.add(response);
        response.once('close', () => open.delete(response));
      }
    }
    return emit.call(this, event, ...values);
  });
  define('close', function (...args) {
    closing.add(this);
    responses.get(this)?.forEach(last);
    this.once('close', () => closing.delete(this));
    return close.apply(this, args);
  });
})();
