// Workers listen on a descriptor of the script's, by its number.
'use strict';
const cluster = require('node:cluster');
const net = require('node:net');

if (cluster.isPrimary) {
  const server = net.createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    const worker = cluster.fork({ FD: server._handle.fd });
    worker.on('listening', (address) => {
      console.log('listening', address.fd === server._handle.fd);
      // From now on only the worker accepts.
      server._handle.onconnection = null;
      server.close();
      let text = '';
      net.connect(port, '127.0.0.1').on('data', (data) => text += data).on('close', () => {
        console.log(text);
        worker.disconnect();
      });
    });
    worker.on('exit', (code) => console.log('exit', code));
  });
} else {
  net.createServer((socket) => socket.end('from the worker')).listen({ fd: Number(process.env.FD) });
}
