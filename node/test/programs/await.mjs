process.disconnect();
if (process.argv[2] === 'throw') throw new Error('top level');
await new Promise(() => {});
