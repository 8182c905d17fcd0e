'use strict';
// A server for every runtime that has node:http: whose process answers, a response that takes a while,
// and an event loop that does not turn for a while.

const http = require('node:http');

const server = http.createServer((request, response) => {
  const answer = () => response.end(`process ${process.pid}`);
  if (request.url === '/slow') {
    console.log(`slow at ${process.pid}`);
    setTimeout(answer, 300);
  } else if (request.url === '/block') {
    console.log(`blocks ${process.pid}`);
    const until = Date.now() + 60_000;
    while (Date.now() < until);
    answer();
  } else {
    answer();
  }
});
server.listen(0, '0.0.0.0');
