/** Where the host's programs are looked up. The agent's own PATH is not passed on: it may lead anywhere. */
export const TOOLS_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
