// Sockets in both directions, and messages around them in their order.
'use strict';
const cluster = require('node:cluster');
const dgram = require('node:dgram');
const net = require('node:net');

if (cluster.isPrimary) {
  const out = [];
  // What connections bring, which overtakes messages or not.
  const texts = [];
  const worker = cluster.fork();
  worker.on('message', (message, handle) => {
    out.push([message, handle?.constructor.name]);
    if (message === 'server') {
      // The worker's server, served here.
      handle.on('connection', (socket) => socket.end('from the script'));
      const client = net.connect(handle.address().port);
      let text = '';
      client.on('data', (data) => text += data).on('close', () => {
        texts.push(text);
        handle.close(() => worker.send('done'));
      });
    } else if (message === 'ready') {
      const server = net.createServer((socket) => {
        worker.send('before');
        worker.send('socket', socket, { keepOpen: false }, (error) => out.push(['sent', error]));
        worker.send('after');
        server.close();
      }).listen(0, () => {
        const client = net.connect(server.address().port);
        let text = '';
        client.on('data', (data) => text += data).on('close', () => {
          texts.push(text);
          const udp = dgram.createSocket('udp4').bind(0, '127.0.0.1', () => worker.send('udp', udp, () => udp.close()));
        });
      });
    }
  });
  worker.on('exit', (code, signal) => console.log(JSON.stringify({ out, texts, code, signal })));
} else {
  process.on('message', (message, handle) => {
    if (message === 'socket') handle.end('from the worker');
    else if (message === 'udp') {
      process.send(['udp', handle.constructor.name, handle.address().address]);
      handle.close();
      const server = net.createServer().listen({ port: 0, exclusive: true }, () => process.send('server', server, () => server.close()));
    } else if (message === 'done') process.disconnect();
    else process.send(message);
  });
  process.send('ready');
}
