// What an actor makes to send it away, and what it does with what it is sent.
'use strict';
const dgram = require('node:dgram');
const net = require('node:net');
const { once } = require('node:events');

// Whom clients of a descriptor are told that it was passed to.
class Sockets {
  constructor(name) {
    this.name = name;
    this.made = new Map();
  }

  // Something to send later. A connection is awaited by a listener until then. What a worker makes
  // is its own, not the cluster's: `exclusive`.
  async make({ id, kind, path }) {
    if (kind === 'udp') {
      const socket = dgram.createSocket('udp4');
      socket.bind({ port: 0, address: '127.0.0.1', exclusive: true });
      await once(socket, 'listening');
      this.made.set(id, socket);
      return { port: socket.address().port };
    }
    const server = net.createServer({ pauseOnConnect: true });
    server.listen({ ...(path ? { path } : { port: 0, host: '127.0.0.1' }), exclusive: true });
    await once(server, 'listening');
    if (kind === 'listener') {
      this.made.set(id, server);
    } else {
      const connected = once(server, 'connection').then(([socket]) => {
        server.close();
        return socket;
      });
      this.made.set(id, connected);
    }
    return path ? { path } : { port: server.address().port };
  }

  // Sends it beside a message: at once, if it is there.
  send(to, { id, message, keepOpen }) {
    const made = this.made.get(id);
    const send = (handle) => new Promise((resolve) => {
      to.send(message, handle, { keepOpen }, (error) => {
        if (keepOpen) this.made.set(id, handle);
        else if (!(handle instanceof net.Socket)) handle.close();
        resolve(error ? { error: error.code } : 'written');
      });
    });
    return made instanceof Promise ? made.then(send) : send(made);
  }

  // Writes to a connection that was sent away and kept.
  say({ id }) {
    this.tell(this.made.get(id), 'kept by');
  }

  // Without a shutdown, which would affect every process that has it.
  tell(socket, how) {
    socket.write(`${how} ${this.name}\n`, () => socket.destroy());
  }

  // Uses a descriptor that came beside a message, and says what it is.
  use(handle) {
    if (!handle) return null;
    if (handle instanceof net.Server) {
      handle.on('connection', (socket) => this.tell(socket, 'passed to'));
      return 'listener';
    }
    if (handle instanceof net.Socket) {
      this.tell(handle, 'passed to');
      return 'connection';
    }
    handle.on('message', (_, from) => {
      handle.send(`passed to ${this.name}\n`, from.port, from.address);
    });
    return 'udp';
  }
}

module.exports = { Sockets };
