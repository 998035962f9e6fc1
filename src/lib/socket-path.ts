/** The longest path of a unix socket, in bytes: what `sun_path` holds, less its terminating zero. */
export const MAX_SOCKET_PATH_BYTES = 107;
