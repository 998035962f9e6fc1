/** The longest path of a unix socket, in bytes: the size of `sun_path` less its terminating zero. */
export const MAX_SOCKET_PATH_BYTES = 107;
