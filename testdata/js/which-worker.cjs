// Answers with the worker's id. Ours, not the reference page's.
'use strict';

const cluster = require('node:cluster');
const http = require('node:http');

http.createServer((req, res) => {
  res.end(`${cluster.worker.id}`);
}).listen(8000);
