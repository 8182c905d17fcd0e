'use strict';

// What the Rust primary preloads into Bun workers: with it the servers of node:http take part in
// node:cluster.
//
// Bun (1.4) binds the port of an http.Server itself, in every worker, and lets the kernel choose among
// the workers' sockets (SO_REUSEPORT). The primary has no part in that: no placement or policy holds,
// what waits in a worker's queue is lost when it closes, and `disconnect` does not close the server.
// A net.Server does take part. So here an http.Server listens by a net.Server, whose connections it is
// given as its 'connection' events.
//
// Under the placement `kernel` a worker has a socket of its own, and the primary hands it connections
// besides, those that waited where no worker accepts. Bun drops them with an exception, so here a
// net.Server takes them.
//
// TLS servers of node:https, those with `exclusive`, and Bun.serve are left as they are.

(function () {
  const env = process.env;
  const before = env.CLUSTER_BUN_OPTIONS;
  if (before === undefined) return; // A worker thread: what it loads is patched in its own right.

  // The program, and its own children, see the variables and arguments that they would see without.
  delete env.CLUSTER_BUN_OPTIONS;
  if (before === '-') delete env.BUN_OPTIONS;
  else env.BUN_OPTIONS = before.slice(1);
  const own = process.execArgv.indexOf(`--preload=${__filename}`);
  if (own >= 0) process.execArgv.splice(own, 1);
  if (env.NODE_UNIQUE_ID === undefined || process.versions.bun === undefined) return;

  const FRESH_AGE = 1000; // ms that a new connection may take for its first request
  const http = require('node:http');
  const net = require('node:net');
  const inners = new WeakMap(); // the net.Server of each http.Server that listens by one
  const { prototype } = http.Server;
  const original = {};
  const innerOf = (server) => inners.get(server);

  const netListen = net.Server.prototype.listen;
  net.Server.prototype.listen = function listen(...args) {
    const result = netListen.apply(this, args);
    this.prependOnceListener('listening', takeHandedConnections);
    return result;
  };

  function takeHandedConnections() {
    const symbol = Object.getOwnPropertySymbols(this).find((known) => {
      return known.description === 'kClusterHandle';
    });
    const handle = symbol && this[symbol];
    if (typeof handle?.sharedFd !== 'number' || handle.onconnection !== undefined) return;
    handle.onconnection = (error, client) => {
      if (error || this[symbol] !== handle) {
        client?.close();
        return;
      }
      const { allowHalfOpen, highWaterMark, pauseOnConnect } = this;
      const socket = new net.Socket({ allowHalfOpen, highWaterMark });
      socket.isServer = true;
      socket.connect({ fd: client.fd, fdIsRawSocket: true, pauseOnConnect });
      if (this.noDelay) socket.setNoDelay(true);
      socket.server = socket._server = this;
      this._connections++;
      this.emit('connection', socket);
    };
  }

  // Replaces a method for servers that listen by a net.Server.
  function override(name, method) {
    original[name] = prototype[name];
    Object.defineProperty(prototype, name, {
      ...Object.getOwnPropertyDescriptor(prototype, name),
      configurable: true,
      writable: true,
      value: {
        [name](...args) {
          const inner = innerOf(this);
          if (inner === undefined) return original[name]?.apply(this, args);
          return method.call(this, inner, ...args);
        },
      }[name],
    });
  }

  const isTls = (server) =>
    Object.getOwnPropertySymbols(server).some((symbol) => {
      return symbol.description === 'tls' && typeof server[symbol] === 'object' && server[symbol] !== null;
    });

  original.listen = prototype.listen;
  prototype.listen = function listen(...args) {
    if (innerOf(this) !== undefined) {
      const error = new Error('Listen method has been called more than once without closing.');
      throw Object.assign(error, { code: 'ERR_SERVER_ALREADY_LISTEN' });
    }
    const options = typeof args[0] === 'object' && args[0] !== null ? args[0] : {};
    const aside = options.exclusive || options.tls || isTls(this) || this.listening;
    // Loaded only now: loading it is what makes a program take part in the cluster.
    if (aside || !require('node:cluster').isWorker) return original.listen.apply(this, args);
    const listener = args.at(-1);
    if (typeof listener === 'function') {
      args.pop();
      this.once('listening', listener);
    }
    listenBy(this, args);
    return this;
  };

  function listenBy(server, args) {
    const inner = net.createServer({ allowHalfOpen: true, noDelay: true });
    const requests = new Map(); // each connection, with the number of its requests
    const responses = new Set(); // those that are not finished
    let closing = false;
    inners.set(server, inner);

    // Ends connections that wait for a further request. A client that has sent nothing yet may just be
    // about to.
    const endIdle = () => {
      const busy = new Set();
      for (const response of responses) busy.add(response.req.socket);
      for (const [socket, count] of requests) {
        if (count > 0 && !busy.has(socket)) socket.end();
      }
    };
    const endUnused = () => {
      for (const [socket, count] of requests) if (count === 0) socket.destroy();
    };
    const last = (response) => {
      response.shouldKeepAlive = false;
      if (!response.headersSent) response.setHeader('connection', 'close');
    };
    // Not by listeners: libraries take a server's listeners away and call them themselves.
    const emit = server.emit;
    const own = Object.hasOwn(server, 'emit');
    const define = (value) => {
      Object.defineProperty(server, 'emit', { value, configurable: true, writable: true });
    };
    define(function (event, ...values) {
      if (event === 'request' || event === 'checkContinue' || event === 'checkExpectation') {
        const response = values[1];
        const { socket } = values[0];
        responses.add(response);
        requests.set(socket, (requests.get(socket) ?? 0) + 1);
        if (closing) last(response);
        response.once('close', () => {
          responses.delete(response);
          if (closing) setImmediate(endIdle);
        });
      }
      return emit.call(this, event, ...values);
    });

    function forget() {
      inners.delete(server);
      if (own) define(emit);
      else delete server.emit;
    }

    inner.on('connection', (socket) => {
      requests.set(socket, 0);
      socket.once('close', () => requests.delete(socket));
      server.emit('connection', socket);
    });
    inner.on('error', (error) => {
      if (!inner.listening) forget();
      server.emit('error', error);
    });
    inner.on('listening', () => server.emit('listening'));
    inner.on('drop', (data) => server.emit('drop', data));
    inner.on('close', () => {
      forget();
      server.emit('close');
    });
    // The cluster closes it when the worker is to disconnect.
    const { close } = inner;
    inner.close = function (callback) {
      const result = close.call(this, callback);
      if (!closing) {
        closing = true;
        responses.forEach(last);
        endIdle();
        setTimeout(endUnused, FRESH_AGE).unref();
      }
      return result;
    };
    if (server.maxConnections !== undefined) inner.maxConnections = server.maxConnections;
    inner.listen(...args);
    if (server._unref) inner.unref();
  }

  override('close', function (inner, callback) {
    inner.close(callback);
    return this;
  });
  override('address', (inner) => inner.address());
  override('getConnections', function (inner, callback) {
    inner.getConnections(callback);
    return this;
  });
  override('ref', function (inner) {
    inner.ref();
    return this;
  });
  override('unref', function (inner) {
    inner.unref();
    return this;
  });
  original.listening =
    Object.getOwnPropertyDescriptor(prototype, 'listening') ?? { get: () => false, configurable: true };
  Object.defineProperty(prototype, 'listening', {
    ...original.listening,
    get() {
      const inner = innerOf(this);
      return inner === undefined ? original.listening.get.call(this) : inner.listening;
    },
  });
})();
