/**
 * The link between a client and a gateway: frames over one WebSocket that the client dials. The client opens every
 * stream; docs/protocol.md lists the kinds.
 */

/** Path of the WebSocket on a gateway. */
export const CLIENT_PATH = '/v1/ws';
export const CLIENT_SUBPROTOCOL = 'millibox.v1';
export const CLIENT_GENERATION = 1;

/** In the HELLO of a gateway. */
export type GatewayHello = {
  generation: number;
  /** It takes creates and deletes as streams. Absent: only over HTTP. */
  calls?: true;
};

/** Where a gateway listens by default, on loopback. */
export const GATEWAY_PORT = 8700;
