// Preloaded by --import.
process.argv.push(`import ${process.execArgv.length}`);
