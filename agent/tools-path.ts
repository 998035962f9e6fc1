/** Where programs of this machine are looked for. The agent's own PATH is not handed on: it may lead anywhere. */
export const TOOLS_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
