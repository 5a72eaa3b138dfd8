/** oclif's help. Here so that a bundle has a file that package.json can name (`oclif.helpClass`). */
export {Help as default} from '@oclif/core';
