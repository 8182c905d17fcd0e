// A server for the clients beside it: answers requests, and its primary's messages.
'use strict';
const http = require('node:http');

http.createServer((_, response) => response.end(`${process.env.GREETING}\n`)).listen(0, '127.0.0.1');
process.on('message', ({ question }) => process.send({ question, answer: process.env.GREETING }));
