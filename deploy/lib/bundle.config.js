/**
 * The CLI from a few files in place of two hundred: to find and read its modules takes longer than the call that it makes.
 * It takes the place of dist/src/cli/main.js; the modules beside it stay, since the SDK's users import them.
 */
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));

export default {
  input: { 'src/cli/main': `${root}src/cli/main.ts` },
  platform: 'node',
  // Of packages, only those of many modules that every command loads.
  external: (id) => !/^(\.|\/|commander$|zod|@oxc-project)/.test(id),
  tsconfig: `${root}tsconfig.json`,
  // As the compiler makes of the rest, for the oldest Node.js that will do.
  transform: { target: 'es2024' },
  output: { dir: `${root}dist`, format: 'esm', chunkFileNames: 'chunks/[name]-[hash].js' },
};
