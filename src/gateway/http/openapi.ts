/** Generates the OpenAPI document from the routes. */
import * as z from 'zod';
import { ERRORS } from '../../protocol/errors.ts';
import { INCOMPLETE } from './headers.ts';
import type { AnswerSpec, Route } from './route.ts';

type Json = Record<string, unknown>;

const ERROR_ANSWER = { $ref: '#/components/responses/Error' };
const INCOMPLETE_HEADERS = {
  [INCOMPLETE]: {
    schema: { type: 'string', const: 'true' },
    description: 'There may be more than this server knows of',
  },
};

/** @param shared Schemas that get a name of their own. */
export function openApiDocument(routes: readonly Route[], shared: Record<string, z.ZodType>, version: string): Json {
  const names = new Map(Object.entries(shared).map(([name, schema]) => [schema, name]));
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    // `::` is an escaped colon that does not begin a parameter.
    const path = route.url.replace(/(?<!:):(\w+)/g, '{$1}').replace('::', ':');
    (paths[path] ??= {})[String(route.method).toLowerCase()] = operation(route, path, names);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'millibox',
      version,
      description:
        'Sandboxes for untrusted code. Streams, terminals and tunnels go over the WebSocket `/v1/ws`: docs/protocol.md.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    // Relative: the host that serves the document.
    servers: [{ url: '/' }],
    security: [{ bearer: [] }],
    paths,
    components: {
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
      schemas: {
        ...Object.fromEntries(Object.entries(shared).map(([name, schema]) => [name, jsonSchema(schema, 'output')])),
        Error: errorSchema(),
      },
      responses: {
        Error: {
          description: 'Any failure. The code determines the status.',
          headers: { 'retry-after': { schema: { type: 'integer' }, description: 'Seconds' } },
          content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
        },
      },
    },
  };
}

function operation(route: Route, path: string, names: Map<z.ZodType, string>): Json {
  const headers = route.idempotent
    ? [{ name: 'Idempotency-Key', in: 'header', schema: { type: 'string', minLength: 1, maxLength: 255 } }]
    : [];
  const shapes = route.params === undefined ? {} : (jsonSchema(route.params, 'input')['properties'] as Json);
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => ({
    name,
    in: 'path',
    required: true,
    schema: shapes[name] ?? { type: 'string' },
  }));
  const inQuery = route.query === undefined ? [] : queryParameters(route.query);
  const parameters = [...inPath, ...inQuery, ...headers];
  const bodyOf = (): Json | undefined => {
    if (route.body !== undefined) {
      const required = !route.body.safeParse({}).success;
      return { required, content: { 'application/json': { schema: reference(route.body, names, 'input') } } };
    }
    if (route.rawBody === undefined) return undefined;
    return { required: true, content: { [route.rawBody]: { schema: { type: 'string', format: 'binary' } } } };
  };
  const requestBody = bodyOf();
  return {
    operationId: route.id,
    summary: route.admin ? `${route.summary} (administrators)` : route.summary,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(requestBody === undefined ? {} : { requestBody }),
    responses: {
      ...Object.fromEntries(
        Object.entries(route.answers).map(([status, answer]) => {
          const headers = route.overview ? { headers: INCOMPLETE_HEADERS } : {};
          return [status, { ...answerOf(answer, names), ...headers }];
        }),
      ),
      default: ERROR_ANSWER,
    },
  };
}

function answerOf({ description, schema, contentType }: AnswerSpec, names: Map<z.ZodType, string>): Json {
  if (schema !== undefined)
    return { description, content: { 'application/json': { schema: reference(schema, names, 'output') } } };
  if (contentType === undefined) return { description };
  return { description, content: { [contentType]: { schema: { type: 'string', format: 'binary' } } } };
}

function queryParameters(query: z.ZodType): Json[] {
  const { properties = {}, required = [] } = jsonSchema(query, 'input') as {
    properties?: Record<string, Json>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, schema]) => ({
    name,
    in: 'query',
    ...(required.includes(name) ? { required: true } : {}),
    schema,
  }));
}

function reference(schema: z.ZodType, names: Map<z.ZodType, string>, io: 'input' | 'output'): Json {
  const name = names.get(schema);
  return name === undefined ? jsonSchema(schema, io) : { $ref: `#/components/schemas/${name}` };
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, {
    io,
    unrepresentable: 'any',
    override: ({ jsonSchema: made }) => {
      const marked = made as Json;
      // A later version may add fields: clients that validate answers must not refuse them.
      if (io === 'output' && marked['additionalProperties'] === false) delete marked['additionalProperties'];
      // Query parameters are text that is parsed into something else: see `queryInt`, `queryFlag`.
      if (marked['integer'] === true) Object.assign(clear(marked), { type: 'integer', ...numbersOf(marked) });
      if (marked['boolean'] === true) Object.assign(clear(marked), { type: 'boolean' });
    },
  }) as Json;
  return rest;
}

const numbersOf = ({ minimum, maximum }: Json): Json => ({ minimum, maximum });

function clear(schema: Json): Json {
  for (const key of ['integer', 'boolean', 'pattern', 'enum', 'allOf']) delete schema[key];
  return schema;
}

function errorSchema(): Json {
  return {
    type: 'object',
    required: ['error'],
    properties: {
      error: {
        type: 'object',
        required: ['code', 'message', 'retryable', 'requestId'],
        properties: {
          code: { type: 'string', enum: Object.keys(ERRORS) },
          message: { type: 'string' },
          retryable: { type: 'boolean', description: 'Nothing was done, and the same call may succeed later' },
          retryAfterMs: { type: 'number' },
          details: { type: 'object', additionalProperties: true },
          requestId: { type: 'string' },
        },
      },
    },
  };
}
