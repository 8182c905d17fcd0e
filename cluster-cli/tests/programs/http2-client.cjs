// One HTTP/2 request to the port given as argument, on a session that is never closed from here. Prints the body.
'use strict';

const http2 = require('node:http2');

const session = http2.connect(`http://127.0.0.1:${process.argv[2]}`);
const fail = (error) => {
  console.log(`failed: ${error.message}`);
  process.exit(1);
};
session.on('error', fail);
session.on('goaway', (code) => console.log(`goaway ${code}`));
const stream = session.request({ ':path': '/' });
stream.on('error', fail);
stream.setEncoding('utf8');
let body = '';
stream.on('data', (part) => { body += part; });
stream.on('end', () => console.log(`body ${body}`));
// The server closes the session.
session.on('close', () => console.log('closed'));
