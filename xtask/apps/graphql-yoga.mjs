// GraphQL Yoga on node:http: at SIGTERM the server is closed, then `yoga.dispose()`.
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSchema, createYoga } from 'graphql-yoga';

const note = (step) => appendFileSync(process.env.SHUTDOWN_LOG, `${step} ${process.pid}\n`);

const yoga = createYoga({
  logging: 'warn',
  schema: createSchema({
    typeDefs: 'type Query { pid: Int! }',
    resolvers: {
      Query: {
        async pid() {
          await sleep(10); // a query
          return process.pid;
        },
      },
    },
  }),
});

const server = createServer(yoga);
const metrics = setInterval(() => {}, 1000);

process.on('SIGTERM', () => {
  note('handler');
  server.close(async () => {
    clearInterval(metrics);
    await yoga.dispose();
    await sleep(200); // the pool is closed
    note('clean');
    process.exit(0);
  });
});

server.listen(process.env.PORT);
