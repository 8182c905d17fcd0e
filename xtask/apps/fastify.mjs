// Fastify: `app.close()` at SIGTERM runs the `onClose` hooks; the process then ends by itself.
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import Fastify from 'fastify';

const note = (step) => appendFileSync(process.env.SHUTDOWN_LOG, `${step} ${process.pid}\n`);

const app = Fastify();
const metrics = setInterval(() => {}, 1000);

app.get('/', async () => {
  await sleep(10); // a query
  return { pid: process.pid };
});

app.addHook('onClose', async () => {
  clearInterval(metrics);
  await sleep(200); // the pool is closed
});

process.on('SIGTERM', async () => {
  note('handler');
  await app.close();
  note('clean');
});

await app.listen({ port: Number(process.env.PORT), host: '0.0.0.0' });
