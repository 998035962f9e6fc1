/** Generates docs/openapi.json: `node src/gateway/doors/native/write-openapi.ts`. */
import { writeFileSync } from 'node:fs';
import { nativeRoutes } from './door.ts';
import { nativeOpenApi } from './openapi.ts';
import type { Services } from '../../services.ts';

/** Building the routes calls no service. */
const none = {} as Services;
const file = new URL('../../../../docs/openapi.json', import.meta.url);
writeFileSync(file, `${JSON.stringify(nativeOpenApi(nativeRoutes(none)), null, 2)}\n`);
