'use strict';

// The worker agent: a script that the Rust primary preloads into each Node
// worker. It reports load to the primary and prepares the worker's servers for
// leaving. README.md describes the protocol and everything that it touches.
//
// Two rules hold for every line below:
//  - The program must not notice the agent. It adds no listeners to objects of
//    the program, keeps nothing alive, and loads no built-in module that the
//    process has not loaded yet.
//  - The agent must not break the program. Every entry point (preload, channel
//    subscriber, timer, socket event) goes through guard(), which disables the
//    agent on the first exception.

(function agent() {
  // Programs may replace globals (fake timers, patched JSON) after the preload.
  const { setInterval, setTimeout, setImmediate, clearInterval } = globalThis;
  const { parse, stringify } = JSON;
  const hrtime = process.hrtime;
  const memoryUsage = process.memoryUsage;
  const activeHandles = process._getActiveHandles;

  const MAX_LINE = 64 * 1024; // longest line accepted from the primary
  const DELAY_PERIOD = 25; // ms between two event-loop delay samples
  const SAMPLES = 400; // delay samples that a report covers: those of the last ten seconds
  const WORK_PERIOD = 10; // ms between two checks of the work left
  const IDLE_PERIOD = 50; // ms between two scans for idle connections
  const IDLE_AGE = 100; // ms a connection must be idle before it is closed
  const FRESH_AGE = 1000; // ms that a new connection or HTTP/2 session may take for its first request
  const SWEEP_MIN = 256; // smallest number of connections or sessions that triggers a sweep
  const KEPT_REQUESTS = 32; // finished requests that may be kept before they are swept

  const env = process.env;
  const isNode = process.versions.bun === undefined && globalThis.Deno === undefined;
  const descriptor = env.CLUSTER_AGENT_FD;
  const savedOptions = env.CLUSTER_AGENT_NODE_OPTIONS;

  let disabled = false;

  const now = () => {
    const [seconds, nanoseconds] = hrtime();
    return seconds * 1e3 + nanoseconds / 1e6;
  };

  function guard(fn) {
    return function guarded(...args) {
      if (disabled) return undefined;
      try {
        return fn.apply(this, args);
      } catch {
        disable();
        return undefined;
      }
    };
  }

  // ---------------------------------------------------------------- traces

  // Removes what the injection left in the process. Runs in the main thread and
  // also in worker threads, which repeat the preloads of the main thread.
  function cleanEnvironment() {
    for (const name of ['CLUSTER_AGENT_FD', 'CLUSTER_AGENT_SCRIPT_FD', 'CLUSTER_AGENT_NODE_OPTIONS']) {
      if (env[name] !== undefined) delete env[name];
    }
    if (savedOptions === undefined) return;
    if (savedOptions[0] === '=') env.NODE_OPTIONS = savedOptions.slice(1);
    else delete env.NODE_OPTIONS;
  }

  // Only when the agent was loaded by -r; the stub for `data` passes no filename.
  function cleanPreload() {
    if (typeof __filename !== 'string' || typeof require !== 'function' || !require.cache) return;
    const Module = module.constructor;
    const isOurs = (request) => {
      if (request === __filename) return true;
      // __filename is resolved; the option may go through a symbolic link. The
      // permission model may deny realpath, so compare the base names then.
      if (typeof request !== 'string') return false;
      try {
        return require('fs').realpathSync(request) === __filename;
      } catch {
        return request.slice(request.lastIndexOf('/') + 1) === __filename.slice(__filename.lastIndexOf('/') + 1);
      }
    };

    // Ours is the first entry of execArgv (way `require`), or not there at all
    // (way `options`). A later, equal entry would be the program's own.
    const argv = process.execArgv;
    let request = __filename;
    if (Array.isArray(argv) && savedOptions === undefined) {
      if ((argv[0] === '-r' || argv[0] === '--require') && isOurs(argv[1])) {
        request = argv[1];
        argv.splice(0, 2);
      } else if (typeof argv[0] === 'string' && argv[0].startsWith('--require=') && isOurs(argv[0].slice(10))) {
        request = argv[0].slice(10);
        argv.splice(0, 1);
      }
    }

    // The array is the one that Node is iterating over at this moment, so it
    // must not be modified: give `process` a copy without our entry instead.
    const property = Object.getOwnPropertyDescriptor(process, '_preload_modules');
    if (property && Array.isArray(property.value) && property.configurable) {
      let index = property.value.indexOf(request);
      if (index < 0) index = property.value.findIndex(isOurs);
      if (index >= 0) {
        const value = property.value.slice();
        value.splice(index, 1);
        Object.defineProperty(process, '_preload_modules', { ...property, value });
      }
    }

    // Preloads share a parent; the program's own -r hooks can see its children.
    // Reading module.parent warns under --pending-deprecation: skip it then.
    const pending = env.NODE_PENDING_DEPRECATION === '1' ||
      `${argv} ${env.NODE_OPTIONS}`.includes('--pending-deprecation');
    const children = pending ? undefined : module.parent?.children;
    if (Array.isArray(children) && children.includes(module)) children.splice(children.indexOf(module), 1);

    delete require.cache[__filename];
    const paths = Module._pathCache;
    for (const key of Object.keys(paths ?? {})) {
      if (paths[key] === __filename) delete paths[key];
    }
  }

  // ---------------------------------------------------------------- the connection to the primary

  // One socket, or the read end of one pipe and the write end of another.
  let reader = null;
  let writer = null;
  let received = ''; // the incomplete last line, as latin1: one char per byte

  function send(message) {
    if (writer !== null && !writer.destroyed && writer.writable) writer.write(`${stringify(message)}\n`);
  }

  // The primary does not read: skip what can be skipped. A write that the kernel
  // has not taken would also keep the process alive.
  function isBlocked() {
    return writer === null || writer.writableLength > 0;
  }

  const onData = guard((chunk) => {
    received += chunk.latin1Slice(0, chunk.length);
    for (;;) {
      const end = received.indexOf('\n');
      if (end < 0) break;
      const line = Buffer.from(received.slice(0, end), 'latin1').toString('utf8');
      received = received.slice(end + 1);
      let message;
      try {
        message = parse(line);
      } catch {
        continue; // malformed line: skip it
      }
      if (message !== null && typeof message === 'object') handleMessage(message);
      if (disabled) return;
    }
    if (received.length > MAX_LINE) disable();
  });

  function handleMessage(message) {
    const { configure, leave, listeners } = message;
    if (isObject(configure)) configureReports(configure);
    if (isObject(leave)) startLeaving(leave.stopAccepting === true);
    if (isObject(listeners) && typeof listeners.event === 'string') {
      send({ listeners: { id: listeners.id, count: countListeners(listeners.event) } });
    }
  }

  // Of 'message' the cluster module has one itself, which passes messages on to
  // the listeners of cluster.worker.
  function countListeners(event) {
    const count = process.listenerCount(event);
    if (event !== 'message' || !process.moduleLoadList.includes('NativeModule cluster')) return count;
    const { worker } = builtin('cluster');
    return isObject(worker) ? Math.max(0, count - 1) + worker.listenerCount(event) : count;
  }

  function isObject(value) {
    return value !== null && typeof value === 'object';
  }

  // ---------------------------------------------------------------- what the program serves

  const servers = new Set(); // net.Server instances that listen or have connections
  const detached = new Set(); // HTTP/1 sockets that no server counts (passed by IPC and emitted)
  const sessions = new Set(); // HTTP/2 server sessions
  // Requests in progress (ServerResponse or ServerHttp2Stream), and some that have
  // finished since the last sweep. An array, and no channel that says when they
  // finish: a Set would make V8 give each response an identity hash, and both
  // together cost several times as much per request.
  const open = [];
  let requestsStarted = 0;
  let sweepRequestsAt = KEPT_REQUESTS;
  let sweepAt = SWEEP_MIN;

  const symbols = new Map(); // description -> symbol, as found on Node's objects

  // Node keeps some state under symbols that it does not export.
  function hidden(object, description) {
    const known = symbols.get(description);
    if (known !== undefined && object[known] !== undefined) return object[known];
    for (const symbol of Object.getOwnPropertySymbols(object)) {
      if (symbol.description === description && object[symbol] !== undefined) {
        symbols.set(description, symbol);
        return object[symbol];
      }
    }
    return undefined;
  }

  const http2Servers = new WeakSet(); // those without TLS

  function addServer(server) {
    if (!isObject(server) || servers.has(server)) return;
    servers.add(server);
    // By name: looking the classes up would load http2.
    if (isInstance(server, 'Http2SecureServer')) watchSecureSessions();
    if (isInstance(server, 'Http2Server')) http2Servers.add(server);
    if (stopAccepting) closeListenerSoon(server);
  }

  function isInstance(value, name) {
    for (let object = value; object; object = Object.getPrototypeOf(object)) {
      if (Object.hasOwn(object, 'constructor') && object.constructor?.name === name) return true;
    }
    return false;
  }

  function isSwept(request) {
    if (request.destroyed) return true;
    if (request.req === undefined) return request.closed === true; // HTTP/2 stream
    return request.writableFinished || request.req.socket?.destroyed === true;
  }

  // Aborted requests publish no finish message, and listeners would be
  // countable: look at the state of each open request instead.
  function sweepRequests() {
    let kept = 0;
    for (let at = 0; at < open.length; at++) {
      if (!isSwept(open[at])) open[kept++] = open[at];
    }
    open.length = kept;
    sweepRequestsAt = Math.max(KEPT_REQUESTS, 2 * kept);
  }

  function sweep() {
    sweepRequests();
    for (const session of sessions) {
      if (session.destroyed) sessions.delete(session);
    }
    for (const each of detached) {
      if (each.destroyed) detached.delete(each);
    }
    for (const server of servers) {
      if (!server._handle && !(server._connections > 0)) servers.delete(server);
    }
    sweepAt = Math.max(SWEEP_MIN, 2 * detached.size, 2 * sessions.size);
  }

  // Also bounds the memory that finished requests hold while nothing is reported.
  function addRequest(request) {
    if (open.length >= sweepRequestsAt) sweepRequests();
    open.push(request);
    requestsStarted++;
  }

  function countConnections() {
    let count = 0;
    for (const server of servers) {
      if (server._connections > 0) count += server._connections;
    }
    for (const each of detached) {
      if (!each.destroyed) count++;
    }
    return count;
  }

  const onListen = guard(({ server }) => addServer(server));

  // Published after the server's 'connection' event, so that an HTTP/2 session
  // over plain TCP exists by now.
  const onConnection = guard(({ socket: connection }) => {
    const server = connection._server ?? connection.server;
    addServer(server);
    if (http2Servers.has(server)) addSession(boundSession(connection));
  });

  // The subscriber that runs for every request spells guard() out: that halves
  // its cost.
  function onRequestStart(message) {
    try {
      const { response, socket: connection } = message;
      addRequest(response);
      if (!connection._server && !connection.encrypted) addDetached(connection, message.server);
      if (leaving) closeAfter(response, connection);
    } catch {
      disable();
    }
  }

  function addDetached(connection, server) {
    if (detached.size >= sweepAt) sweep();
    detached.add(connection);
    // Its HTTP server need not listen itself.
    if (isObject(server)) servers.add(server);
  }

  // HTTP/2 sessions. Node attaches a session to its socket under a key that it
  // imports as `kBoundSession`; where the export is missing the key is the
  // string 'undefined' (Node 20 to 26).
  function boundSession(connection) {
    const session = connection.undefined ?? hidden(connection, 'kBoundSession');
    return isObject(session) && typeof session.goaway === 'function' ? session : undefined;
  }

  // The TLS socket, and with it the session, is not reachable from the accepted
  // socket. Every session over TLS calls disableRenegotiation() on its socket
  // once, at its construction: observe that call.
  let watchesSecureSessions = false;
  function watchSecureSessions() {
    if (watchesSecureSessions) return;
    watchesSecureSessions = true;
    const { TLSSocket } = builtin('tls'); // loaded: the program has a TLS server
    const property = Object.getOwnPropertyDescriptor(TLSSocket.prototype, 'disableRenegotiation');
    if (property === undefined || !property.configurable) return;
    const onSession = guard((connection) => addSession(boundSession(connection)));
    const value = new Proxy(property.value, {
      apply(target, self, args) {
        const result = Reflect.apply(target, self, args);
        onSession(self);
        return result;
      },
    });
    Object.defineProperty(TLSSocket.prototype, 'disableRenegotiation', { ...property, value });
  }

  // `since`: when the session was first seen; `streams`: whether it had one.
  const sessionState = new WeakMap();

  function addSession(session) {
    if (session === undefined || sessions.has(session) || session.destroyed) return;
    if (session.type === 1) return; // NGHTTP2_SESSION_CLIENT
    if (sessions.size >= sweepAt) sweep();
    sessions.add(session);
    sessionState.set(session, { since: now(), streams: false });
    watchStreams(session);
  }

  // Node 20 publishes nothing about streams. The session's own map of open
  // streams gets a `set` that also tells the agent; on later versions the
  // channel below reports the same streams a second time.
  function watchStreams(session) {
    const streams = hidden(session, 'state')?.streams;
    if (!isObject(streams) || typeof streams.set !== 'function' || typeof streams.values !== 'function') return;
    for (const stream of streams.values()) addStream(stream, session);
    const set = streams.set;
    const onStream = guard((id, stream) => {
      if (id % 2 === 1) addStream(stream, session); // even ids are server pushes
    });
    Object.defineProperty(streams, 'set', {
      value(id, stream) {
        Reflect.apply(set, this, [id, stream]);
        onStream(id, stream);
        return this;
      },
      writable: true, configurable: true, enumerable: false,
    });
  }

  const seenStreams = new WeakSet();

  function addStream(stream, session) {
    if (!isObject(stream) || seenStreams.has(stream)) return;
    seenStreams.add(stream);
    addRequest(stream);
    const state = sessionState.get(session);
    if (state !== undefined) state.streams = true;
    if (leaving) closeSessionsSoon();
  }

  const onStreamCreated = guard(({ stream, headers }) => {
    const { session, id } = stream;
    if (id !== undefined && id % 2 === 0) return;
    if (isObject(session)) addSession(session);
    addStream(stream, session);
    const at = headers?.[':method'] === 'CONNECT' ? open.lastIndexOf(stream) : -1;
    if (at >= 0) {
      open.splice(at, 1);
      requestsStarted--;
    }
  });

  // ---------------------------------------------------------------- reports

  let reportTimer = null;
  let connectionsTimer = null;
  let delayTimer = null;
  let reportedConnections = 0;
  let delays = null; // the last samples, in a ring
  let nextSample = 0; // how many there have been
  let lastSample = 0;

  function configureReports(configure) {
    const report = period(configure.report);
    const connections = period(configure.connections);
    stopReports();
    if (report > 0) {
      delays = new Float64Array(SAMPLES);
      nextSample = 0;
      lastSample = now();
      delayTimer = setInterval(guard(sampleDelay), DELAY_PERIOD).unref();
      reportTimer = setInterval(guard(sendReport), report).unref();
    }
    if (connections > 0) {
      connectionsTimer = setInterval(guard(sendConnections), connections).unref();
      sendConnections();
    }
  }

  function period(value) {
    return typeof value === 'number' && value > 0 ? Math.min(Math.max(value, 1), 0x7fffffff) : 0;
  }

  function stopReports() {
    clearInterval(reportTimer);
    clearInterval(connectionsTimer);
    clearInterval(delayTimer);
    reportTimer = connectionsTimer = delayTimer = null;
  }

  function sampleDelay() {
    const time = now();
    delays[nextSample++ % SAMPLES] = Math.max(0, time - lastSample - DELAY_PERIOD);
    lastSample = time;
  }

  function sendReport() {
    sweep();
    if (isBlocked()) return;
    const samples = delays.slice(0, Math.min(nextSample, SAMPLES)).sort();
    const at = (share) => {
      if (samples.length === 0) return 0;
      const value = samples[Math.min(samples.length - 1, Math.ceil(share * samples.length) - 1)];
      return Math.round(value * 1000) / 1000;
    };
    const { heapUsed, rss } = memoryUsage.call(process);
    send({
      report: {
        connections: countConnections(),
        requests: requestsStarted - open.length,
        active: open.length,
        delay: { p50: at(0.5), p99: at(0.99), max: at(1) },
        heapUsed,
        rss,
      },
    });
  }

  function sendConnections() {
    const connections = countConnections();
    if (connections === reportedConnections || isBlocked()) return;
    reportedConnections = connections;
    send({ connections });
  }

  // ---------------------------------------------------------------- leaving

  let leaving = false;
  let stopAccepting = false;
  let workTimer = null;
  let lastWork = '';
  let lastIdleScan = 0;
  let leavingSince = 0;
  let arriving = 0; // connections and sessions on which a request is on its way

  function startLeaving(withListeners) {
    if (withListeners && !stopAccepting) {
      stopAccepting = true;
      findListeners();
      for (const server of servers) closeListenerSoon(server);
    }
    if (!leaving) {
      leaving = true;
      leavingSince = now();
      sweep();
      for (const request of open) {
        if (request.req !== undefined) closeAfter(request, request.req.socket);
      }
      closeSessionsSoon();
      workTimer = setInterval(guard(checkWork), WORK_PERIOD).unref();
    }
    lastWork = '';
    checkWork();
  }

  function checkWork() {
    const time = now();
    if (time - lastIdleScan >= IDLE_PERIOD) {
      lastIdleScan = time;
      arriving = countArriving(time);
      // In the check phase everything that had arrived at the last poll has
      // been parsed, so a request that has begun to arrive is known.
      setImmediate(guard(closeIdleConnections)).unref();
      closeSessionsSoon();
    }
    sweep();
    let started = 0;
    for (const request of open) {
      if (request.headersSent) started++;
    }
    // `total` tells of requests that came and went between two checks.
    const work = {
      requests: open.length + arriving,
      started,
      connections: countConnections(),
      total: requestsStarted,
    };
    const line = `${work.requests} ${started} ${work.connections} ${requestsStarted}`;
    if (line === lastWork || isBlocked()) return;
    lastWork = line;
    send({ work });
  }

  const firstSeen = new WeakMap(); // a connection without a byte, or a session without a stream

  // Requests that are being received, and connections so new that the client may
  // not have come to write its first one.
  function countArriving(time) {
    let count = 0;
    const isFresh = (object) => {
      if (!firstSeen.has(object)) firstSeen.set(object, time);
      return time - firstSeen.get(object) < FRESH_AGE;
    };
    for (const server of servers) {
      const list = hidden(server, 'http.server.connections');
      if (list === undefined || typeof list.active !== 'function') continue;
      for (const parser of list.active()) {
        const connection = parser?.socket;
        if (!isObject(connection) || connection.destroyed || connection._httpMessage) continue;
        if (connection.bytesRead > 0 || isFresh(connection)) count++;
      }
    }
    for (const session of sessions) {
      const state = sessionState.get(session);
      if (session.destroyed || session.closed || state === undefined || state.streams) continue;
      if (time - Math.max(state.since, leavingSince) < FRESH_AGE) count++;
    }
    return count;
  }

  // The latest request on each connection: with pipelining only the last
  // response may announce the end of the connection.
  const lastResponse = new WeakMap();

  // Makes the response carry `Connection: close`, whatever the program sets.
  // The header block is complete when _storeHeader returns and is not sent yet.
  function closeAfter(response, connection) {
    if (isObject(connection)) lastResponse.set(connection, response);
    if (response.headersSent || typeof response._storeHeader !== 'function') return;
    const amend = guard(() => {
      const last = isObject(connection) ? lastResponse.get(connection) : undefined;
      if (last !== undefined && last !== response && !isSwept(last)) return;
      // With the rest of a request unread, closing would reset the connection, and
      // the client might never see the response.
      if (isUploading(response.req)) return;
      announceClose(response);
    });
    const original = response._storeHeader;
    Object.defineProperty(response, '_storeHeader', {
      value: function _storeHeader(...args) {
        const result = Reflect.apply(original, this, args);
        amend();
        return result;
      },
      writable: true, configurable: true, enumerable: false,
    });
  }

  function isUploading(request) {
    if (!isObject(request) || request.complete !== false || !isObject(request.headers)) return false;
    const { 'content-length': length, 'transfer-encoding': coding } = request.headers;
    return coding !== undefined || (length !== undefined && length !== '0');
  }

  function announceClose(response) {
    const header = response._header;
    if (typeof header !== 'string' || response.statusCode === 101 || response._headerSent) return;
    const end = header.indexOf('\r\n');
    if (end < 0) return;
    let kept = ''; // the other options of the Connection field
    const fields = header.slice(end).replace(/\r\n(?:connection:([^\r\n]*)|keep-alive:[^\r\n]*)/gi, (_, value = '') => {
      for (const option of value.split(',')) {
        if (!/^\s*(?:close|keep-alive)?\s*$/i.test(option)) kept += `, ${option.trim()}`;
      }
      return '';
    });
    response._header = `${header.slice(0, end)}\r\nConnection: close${kept}${fields}`;
    response._last = true;
    response.shouldKeepAlive = false;
  }

  const idle = new WeakMap(); // connection -> { since, bytes }

  // Closes keep-alive connections between two requests. A connection counts as
  // idle only after IDLE_AGE: a client that sends its next request as soon as it
  // has the previous response must get that one answered, with `Connection: close`.
  // A connection that has not sent anything yet is not idle but new.
  function closeIdleConnections() {
    const time = now();
    for (const server of servers) {
      const list = hidden(server, 'http.server.connections');
      if (list === undefined || typeof list.idle !== 'function') continue;
      for (const parser of list.idle()) {
        const connection = parser?.socket;
        if (!isObject(connection) || connection.destroyed || connection._httpMessage) continue;
        const bytes = connection.bytesRead;
        if (!(bytes > 0)) continue;
        const state = idle.get(connection);
        if (state === undefined || state.bytes !== bytes) idle.set(connection, { since: time, bytes });
        else if (time - state.since >= IDLE_AGE) connection.destroySoon();
      }
    }
  }

  let closingSessions = false;

  // GOAWAY names the last stream that is processed. In the check phase all
  // requests that have arrived are streams already, and so are covered by it.
  function closeSessionsSoon() {
    if (closingSessions || sessions.size === 0) return;
    closingSessions = true;
    setImmediate(guard(() => {
      closingSessions = false;
      const time = now();
      for (const session of sessions) {
        if (session.destroyed || session.closed) continue;
        const state = sessionState.get(session);
        // A new session's first request may be under way.
        if (state !== undefined && !state.streams &&
            time - Math.max(state.since, leavingSince) < FRESH_AGE) continue;
        session.close();
      }
    })).unref();
  }

  // Early releases of Node 20 do not publish that a server listens.
  function findListeners() {
    if (!process.versions.node.startsWith('20.')) return;
    for (const handle of activeHandles.call(process)) {
      if (isObject(handle) && typeof handle.getConnections === 'function' && handle._handle) addServer(handle);
    }
  }

  // Two turns of the event loop later the 'listening' event has been emitted
  // and the cluster module's own message about it is sent.
  function closeListenerSoon(server) {
    setImmediate(guard(() => setImmediate(guard(() => closeListener(server))).unref())).unref();
  }

  // Closes the descriptor under a listening handle that is shared through the
  // cluster module (which gives such a handle a `close` of its own that notifies
  // the primary), and leaves the handle object in place for the program.
  function closeListener(server) {
    const handle = server._handle;
    if (!isObject(handle) || !Object.hasOwn(handle, 'close')) return;
    const proto = Object.getPrototypeOf(handle);
    if (typeof proto?.close !== 'function' || typeof handle.getAsyncId !== 'function' || closed.has(handle)) return;
    closed.add(handle);

    const define = (name, value) =>
      Object.defineProperty(handle, name, { value, writable: true, configurable: true, enumerable: false });

    // server.address() asks the handle.
    if (typeof handle.getsockname === 'function') {
      const name = {};
      const status = handle.getsockname(name);
      define('getsockname', (out) => {
        Object.assign(out, name);
        return status;
      });
    }

    // The listening handle kept the process alive, and has to until the program
    // closes the server or unrefs it.
    let alive = null;
    const ref = () => {
      alive ??= setInterval(() => {}, 0x7fffffff);
    };
    const unref = () => {
      clearInterval(alive);
      alive = null;
    };
    if (handle.hasRef()) ref();
    define('ref', ref);
    define('unref', unref);
    define('hasRef', () => alive !== null);

    const notifyAndClose = handle.close;
    define('close', function close(...args) {
      unref();
      return Reflect.apply(notifyAndClose, this, args);
    });

    Reflect.apply(proto.close, handle, []);
  }

  const closed = new WeakSet();

  // ---------------------------------------------------------------- life cycle

  let builtin = null;
  const subscriptions = [
    ['tracing:net.server.listen:asyncEnd', onListen],
    ['net.server.socket', onConnection],
    ['http.server.request.start', onRequestStart],
    ['http2.server.stream.created', onStreamCreated],
  ];

  // From here on nothing of the agent runs any more. The responses that have
  // been prepared for `Connection: close` keep it.
  function disable() {
    if (disabled) return;
    disabled = true;
    try {
      stopReports();
      clearInterval(workTimer);
      received = '';
      for (const set of [servers, detached, sessions]) set.clear();
      open.length = 0;
      const channels = builtin('diagnostics_channel');
      for (const [name, subscriber] of subscriptions) channels.unsubscribe(name, subscriber);
    } catch {
      // Nothing left to do.
    }
    for (const stream of [reader, writer]) {
      try {
        stream?.destroy();
      } catch {
        // Nothing left to do.
      }
    }
  }

  function start() {
    // `FD,INODE`: a socket. `IN,INODE,OUT,OUTINODE`: two pipes, so that the primary
    // reads from something that cannot carry descriptors. The inodes are there since
    // a process that inherited the variable, but not the descriptors, may have
    // something else open under these numbers.
    const [input, inode, output = input, outputInode = inode] = descriptor.split(',').map(Number);
    for (const fd of [input, output]) {
      if (!Number.isInteger(fd) || fd < 0) return;
    }
    builtin = typeof require === 'function' ? require : process.getBuiltinModule;
    const { fstatSync, writeSync, closeSync } = builtin('fs');
    if (inode !== undefined && fstatSync(input).ino !== inode) return;
    if (outputInode !== undefined && fstatSync(output).ino !== outputInode) return;
    const closeBoth = () => {
      closeSync(input);
      if (output !== input) closeSync(output);
    };
    // Since Node 25 the permission model denies sockets without --allow-net. That
    // holds for the agent as well; end of file tells the primary at once.
    if (process.permission !== undefined && process.allowedNodeEnvironmentFlags.has('--allow-net') &&
        !process.permission.has('net')) {
      closeBoth();
      return;
    }
    // Written at once: the kernel has it before the program's first statement.
    const hello = { protocol: 1, runtime: 'node', version: process.versions.node };
    try {
      writeSync(output, `${stringify({ hello })}\n`);
    } catch (error) {
      if (inode !== undefined) closeBoth(); // they are the agent's for certain
      throw error;
    }
    const channels = builtin('diagnostics_channel');
    for (const [name, subscriber] of subscriptions) channels.subscribe(name, subscriber);
    // The streams are opened once the program's main module has run: what V8 has to
    // compile for them the program has needed as well by then, as a rule.
    // (An unref'd immediate would not wake a loop that waits, an unref'd timer does.)
    setTimeout(guard(() => openStreams(input, output)), 0).unref();
  }

  function openStreams(input, output) {
    const isSocket = input === output;
    reader = openStream({ fd: input, readable: true, writable: isSocket });
    writer = isSocket ? reader : openStream({ fd: output, readable: false, writable: true });
    reader.on('end', disable);
    reader.on('data', onData);
  }

  function openStream(options) {
    const { Socket } = builtin('net');
    const stream = new Socket(options);
    stream.unref();
    stream.on('error', disable);
    stream.on('close', disable);
    return stream;
  }

  try {
    cleanEnvironment();
    cleanPreload();
    if (isNode && descriptor !== undefined) start();
  } catch {
    disable();
  }
})();
