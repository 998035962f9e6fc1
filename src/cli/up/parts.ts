/** The parts of a service on one machine: where their files are and the environment of each. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { hostPort } from '../../lib/host-port.ts';
import { builtBoxinit, packageRoot } from '../../lib/own-package.ts';
import { MAX_DATA_DIR_BYTES } from '../../lib/socket-path.ts';
import { NODE_SOCKET } from '../../protocol/node.ts';

const built = (path: string): string => join(packageRoot(), 'dist', path);
export const gatewayMain = (): string => built('src/gateway/main.js');
export const agentMain = (): string => built('agent/main.js');

/** Path of boxinit as built by the setup. @throws Error when it does not exist. */
export function boxinitPath(): string {
  const path = builtBoxinit();
  if (!existsSync(path)) throw new Error(`there is no ${path}; \`npm run setup\` builds it`);
  return path;
}

/** @throws Error if the paths of the agents' sockets would be too long below this home. */
export function checkLength(home: string, agents: number): void {
  const most = MAX_DATA_DIR_BYTES - Buffer.byteLength(`/agents/node-${agents}`);
  if (Buffer.byteLength(home) <= most) return;
  throw new Error(
    `the path ${home} is too long: sockets are created below it, so it may have at most ${most} bytes; choose another (MILLIBOX_HOME, or --home)`,
  );
}

export interface AgentPart {
  node: string;
  port: number;
  dataDir: string;
  secretFile: string;
  boxinit: string;
  runtime?: string | undefined;
  image?: string | undefined;
  /** Exact number of containers kept warm. */
  pool?: number | undefined;
}

export function agentEnvironment(part: AgentPart): Record<string, string> {
  const { pool } = part;
  return {
    MILLIBOX_NODE_NAME: part.node,
    MILLIBOX_AGENT_LISTEN: `127.0.0.1:${part.port}`,
    MILLIBOX_DATA_DIR: part.dataDir,
    MILLIBOX_NODE_SECRET_FILE: part.secretFile,
    MILLIBOX_BOXINIT: part.boxinit,
    // An orderly stop leaves nothing behind. After a kill, the next agent adopts what is alive.
    MILLIBOX_ON_STOP: 'destroy',
    ...(part.runtime === undefined ? {} : { MILLIBOX_RUNTIME: part.runtime }),
    ...(part.image === undefined ? {} : { MILLIBOX_DEFAULT_IMAGE: part.image }),
    ...(pool === undefined ? {} : { MILLIBOX_POOL_MIN: String(pool), MILLIBOX_POOL_MAX: String(pool) }),
  };
}

export interface GatewayPart {
  host: string;
  port: number;
  secretFile: string;
  apiKeyFile: string;
  /** With its data directory if the gateway is on the same machine. */
  agents: readonly { node: string; dataDir?: string; port: number }[];
}

export function gatewayEnvironment(part: GatewayPart): Record<string, string> {
  return {
    MILLIBOX_LISTEN: hostPort(part.host, part.port),
    MILLIBOX_NODES: part.agents.map((agent) => `${agent.node}=${nodeUrl(agent)}`).join(','),
    MILLIBOX_NODE_SECRET_FILE: part.secretFile,
    MILLIBOX_API_KEY_FILE: part.apiKeyFile,
  };
}

/** A unix socket if its path is short enough: streams are a quarter faster than over TCP. */
function nodeUrl({ dataDir, port }: { dataDir?: string; port: number }): string {
  const path = dataDir === undefined ? '' : join(dataDir, NODE_SOCKET);
  return path === '' || Buffer.byteLength(path) > 100 || /[:?#%\s,]/.test(path)
    ? `ws://127.0.0.1:${port}`
    : `ws+unix://${path}`;
}
