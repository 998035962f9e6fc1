/**
 * nftables rules that let sandboxes with a network reach the public Internet, but nothing on the node or its private
 * networks.
 */
import type { Range } from './ranges.ts';

/** Private, shared, link-local (including cloud metadata), reserved and multicast addresses. Used by every runtime. */
export const NOT_PUBLIC = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '224.0.0.0/3',
];

/** A sandbox's concurrent connections, and its rate of new ones. */
const MAX_CONNECTIONS = 4_096;
const NEW_A_SECOND = 128;
const NEW_AT_ONCE = 2_048;

interface RuleOptions {
  table: string;
  bridge: string;
  range: Range;
  /** Name servers, reachable even at private addresses. */
  resolvers: readonly string[];
}

/**
 * Replaces the table, whether or not it exists. The forward chain runs before others' chains and can only drop: what it
 * accepts must pass theirs too. The counters show whether it does: connections requested, and connections that left.
 * Packets with IP options are dropped because those may name routers on the way. The last chain drops what was not
 * masqueraded: connection tracking gives up on packets it does not understand, whose replies would go astray.
 */
export function ruleset({ table, bridge, range, resolvers }: RuleOptions): string {
  const names = resolvers.filter((address) => /^\d+(\.\d+){3}$/.test(address));
  const dns =
    names.length === 0
      ? []
      : [`ip daddr { ${names.join(', ')} } meta l4proto { tcp, udp } th dport 53 counter name asked accept`];
  return `
table inet ${table}
delete table inet ${table}
table inet ${table} {
  counter asked {
  }
  counter left {
  }
  chain input {
    type filter hook input priority -10; policy accept;
    iifname "${bridge}" reject with icmpx admin-prohibited
  }
  chain forward {
    type filter hook forward priority -10; policy accept;
    iifname "${bridge}" jump out
    oifname "${bridge}" ct state established,related accept
    oifname "${bridge}" drop
  }
  chain share {
  }
  chain out {
    meta nfproto ipv6 drop
    ip saddr != ${range.subnet} drop
    ip hdrlength > 5 drop
    ct state invalid drop
    oifname "${bridge}" reject with icmpx admin-prohibited
    ct state new ct status & confirmed == 0 jump share
    ${dns.join('\n    ')}
    ip daddr { ${NOT_PUBLIC.join(', ')} } reject with icmpx admin-prohibited
    ct state new counter name asked
    accept
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    ip saddr ${range.subnet} oifname != "${bridge}" counter name left masquerade
  }
  chain last {
    type filter hook postrouting priority 300; policy accept;
    ip saddr ${range.subnet} oifname != { "${bridge}", "lo" } drop
  }
}
`;
}

/**
 * Fills that table's chain `share`: a sandbox's share of connection tracking, which the whole node shares and where
 * each closed connection stays for minutes. Separate, because it needs kernel features that the other rules do not.
 */
export function shareRules({ table }: Pick<RuleOptions, 'table'>): string {
  return `
table inet ${table} {
  set fresh {
    type ipv4_addr
    size 65535
    flags dynamic,timeout
    timeout 1m
  }
  set open {
    type ipv4_addr
    size 65535
    flags dynamic
  }
  chain share {
    update @fresh { ip saddr limit rate over ${NEW_A_SECOND}/second burst ${NEW_AT_ONCE} packets } drop
    add @open { ip saddr ct count over ${MAX_CONNECTIONS} } drop
  }
}
`;
}
