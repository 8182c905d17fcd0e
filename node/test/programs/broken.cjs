'use strict';

// Not valid JavaScript, on purpose: its error message is compared.
const = 1;
