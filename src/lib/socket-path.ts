/** The longest path of a unix socket, in bytes: the size of `sun_path` less its terminating zero. */
export const MAX_SOCKET_PATH_BYTES = 107;

/** The longest path of an agent's data directory, in bytes: the deepest sockets below it are those of its containers. */
export const MAX_DATA_DIR_BYTES = MAX_SOCKET_PATH_BYTES - Buffer.byteLength(`/c/mbx-${'0'.repeat(20)}/run/agent.sock`);
