// NestJS with `enableShutdownHooks()`: at SIGTERM Nest calls the life-cycle hooks, closes its server,
// and raises the signal again. (Decorators are called as functions: plain JavaScript has no syntax for them.)
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Get, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

const note = (step) => appendFileSync(process.env.SHUTDOWN_LOG, `${step} ${process.pid}\n`);

class Database {
  onModuleInit() {
    this.keepAlive = setInterval(() => {}, 1000);
  }

  async beforeApplicationShutdown() {
    note('handler');
  }

  async onApplicationShutdown() {
    clearInterval(this.keepAlive);
    await sleep(200); // the pool is closed
    note('clean');
  }
}
Injectable()(Database);

class AppController {
  async hello() {
    await sleep(10); // a query
    return { pid: process.pid };
  }
}
Controller()(AppController);
Get()(
  AppController.prototype,
  'hello',
  Object.getOwnPropertyDescriptor(AppController.prototype, 'hello'),
);

class AppModule {}
Module({ controllers: [AppController], providers: [Database] })(AppModule);

const app = await NestFactory.create(AppModule, { logger: ['error', 'warn'] });
app.enableShutdownHooks();
await app.listen(process.env.PORT);
