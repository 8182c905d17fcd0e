'use strict';

// A require hook as ts-node and babel install them: compiles `.ts` itself.
// It also looks at how it was loaded.
const fs = require('node:fs');

require.extensions['.ts'] = (module, filename) => {
  module._compile(fs.readFileSync(filename, 'utf8').replace(/: number/g, ''), filename);
};
process.argv.push(`hook ${module.parent?.id} ${module.parent?.children.map((child) => child === module)} ${process._preload_modules?.length}`);
