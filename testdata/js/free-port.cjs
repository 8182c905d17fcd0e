// Preloaded by tests (node --require): where a program asks for port 8000, as the programs of the
// reference page do, any free port is asked for instead, so that tests run side by side.
'use strict';

const net = require('node:net');

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function(...args) {
  if (args[0] === 8000)
    args[0] = 0;
  return Reflect.apply(listen, this, args);
};
