/**
 * The runtime oci on a machine with only cgroup v2, like current distributions: in a virtual machine on an emulated
 * processor. `MILLIBOX_TEST_VM=1` creates it and runs these tests, which takes half an hour.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { because } from '../../deploy/tools.ts';
import { setupHome, wantsVirtualMachine } from '../../helpers/config.ts';
import { Machine, missingForMachine } from './machine.ts';

const MINUTE_MS = 60_000;
const wanted = wantsVirtualMachine();
const missing = wanted ? missingForMachine() : [];
if (missing.length > 0) throw new Error(`there is no ${missing.join(', ')}; bash deploy/setup.sh vm makes it`);

/** The prelude of each script: where the set-up's files are, and the parts of a service. */
const BEGIN = `
set -eu
export MILLIBOX_HOME=${setupHome()} MILLIBOX_REGISTRY=off PATH=/repository/node_modules/.bin:$PATH
mkdir -p $MILLIBOX_HOME/base && mountpoint -q $MILLIBOX_HOME/base || mount --bind /images $MILLIBOX_HOME/base
modprobe overlay
millibox() { node /repository/dist/src/cli/main.js "$@"; }
# again COMMAND...: until it succeeds, for two minutes of this machine's.
again() { for _ in $(seq 60); do "$@" && return 0; sleep 2; done; return 1; }
service_up() { again millibox ls >/dev/null 2>&1; }
`;
/** In the command line of the service that `service_up` waits for, wherever it is started. */
const UP = 'node /repository/dist/src/cli/main.js up --runtime oci';

describe.skipIf(!wanted)(`control groups of version 2${because(wanted ? [] : ['MILLIBOX_TEST_VM=1'])}`, () => {
  let machine: Machine;
  beforeAll(async () => {
    machine = await Machine.start();
  }, 10 * MINUTE_MS);
  afterAll(() => machine?.[Symbol.asyncDispose](), MINUTE_MS);

  /** The script's output. @throws Error with all of it if it fails. */
  async function output(script: string, minutes = 10): Promise<string> {
    const ended = await machine.run(BEGIN + script, minutes * MINUTE_MS);
    if (ended.status !== 0) throw new Error(`the script ended with ${ended.status}: ${ended.output.slice(-8_000)}`);
    return ended.output;
  }

  test(
    'there is no other version, and systemd is in charge',
    async () => {
      const found = await output(`
        awk '$(NF-2) ~ /^cgroup/ { print $(NF-2) }' /proc/self/mountinfo | sort -u; cat /proc/1/comm`);
      expect(found.trim().split('\n')).toEqual(['cgroup2', 'systemd']);
    },
    5 * MINUTE_MS,
  );

  test(
    'sandboxes outlive their agent: the restart, the kill and the stop of its unit, and a new systemd',
    async () => {
      const told = await output(`
        mkdir -p /opt/millibox/bin && cp -r /repository/dist /repository/package.json /opt/millibox/
        ln -sfn /repository/node_modules /opt/millibox/node_modules
        cp -L /repository/node_modules/.bin/node /repository/agent/boxinit/target/*/release/boxinit /opt/millibox/bin/
        bash /repository/deploy/systemd/secrets.sh /etc/millibox
        cp /repository/deploy/systemd/*.service /etc/systemd/system/
        cp /repository/deploy/systemd/*.env /etc/millibox/
        echo "MILLIBOX_BASE_IMAGE_FILE=$MILLIBOX_HOME/base/default-image" >>/etc/millibox/agent.env
        echo "MILLIBOX_DEFAULT_IMAGE=$(head -n 1 $MILLIBOX_HOME/base/default-image)" >>/etc/millibox/agent.env
        systemctl daemon-reload && systemctl start millibox-agent millibox-gateway
        export MILLIBOX_API_KEY=$(cat /etc/millibox/admin-key)
        service_up
        sandbox=$(again millibox create)
        millibox exec $sandbox -- cat /sys/fs/cgroup/memory.swap.max
        systemctl restart millibox-agent && again millibox exec $sandbox -- echo restarted
        systemctl kill --signal=KILL millibox-agent && again millibox exec $sandbox -- echo killed
        systemctl stop millibox-agent && systemctl daemon-reexec && systemctl start millibox-agent
        again millibox exec $sandbox -- sh -c 'echo stopped; cat /sys/fs/cgroup/pids.max'
        millibox exec $(millibox create) -- echo another
        echo MILLIBOX_ON_STOP=destroy >>/etc/millibox/agent.env
        systemctl restart millibox-agent && again millibox exec $sandbox -- echo with its last agent
        systemctl stop millibox-agent millibox-gateway
        again sh -c '! pgrep boxinit >/dev/null'`);
      const lines = told.split('\n').filter((line) => /^(\d+|restarted|killed|stopped|another)$/.test(line));
      expect(lines).toEqual(['0', 'restarted', 'killed', 'stopped', '512', 'another']);
    },
    20 * MINUTE_MS,
  );

  test(
    'sandboxes outlive the session of the user who started the service',
    async () => {
      const told = await output(`
        systemctl start ssh
        session() { ssh -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@127.0.0.1 "
          export MILLIBOX_HOME=$MILLIBOX_HOME PATH=$PATH; setsid ${UP} >/root/up.log 2>&1 </dev/null & sleep 2"; }
        session && service_up
        sandbox=$(again millibox create)
        scope=$(sed -n 's#.*/\\(session-.*[.]scope\\).*#\\1#p' /proc/$(pgrep -f dist/agent/main.js | head -n 1)/cgroup)
        echo "of $scope" && systemctl kill --signal=KILL "$scope"
        again sh -c '! pgrep -f dist/agent/[m]ain.js >/dev/null'
        session && service_up
        again millibox exec $sandbox -- echo lives
        pkill -INT -f 'main.js up --runtime oci' && again sh -c '! pgrep boxinit >/dev/null'`);
      expect(told).toMatch(/^of session-.*\.scope$/m);
      expect(told).toMatch(/^lives$/m);
    },
    20 * MINUTE_MS,
  );

  test(
    'in a container with a view of its own, room is made for sandboxes',
    async () => {
      const told = await output(`
        systemd-run --quiet --scope --unit=container --property=Delegate=yes unshare --cgroup --mount --propagation shared \\
          sh -c 'mount --make-private /sys && mount --make-private /sys/fs/cgroup && umount --lazy /sys/fs/cgroup &&
            mount -t cgroup2 none /sys/fs/cgroup && exec ${UP} >/root/up.log 2>&1' </dev/null &
        service_up
        millibox exec $(again millibox create) -- cat /sys/fs/cgroup/memory.swap.max
        ls -d /sys/fs/cgroup/system.slice/container.scope/init
        pkill -INT -f 'main.js up --runtime oci' && again sh -c '! pgrep boxinit >/dev/null'`);
      expect(told).toMatch(/^0$/m);
      expect(told).toMatch(/container\.scope\/init$/m);
    },
    20 * MINUTE_MS,
  );

  test(
    'the tests of the runtime pass',
    async () => {
      const files = ['contract', 'limits', 'adoption', 'neighbours', 'isolation'];
      const all = files.map((name) => `test/integration/oci/${name}.test.ts`).join(' ');
      const told = await output(
        `cd /repository && vitest run --project real --configLoader runner --no-cache --maxWorkers 1 ${all}`,
        45,
      );
      expect(told).toMatch(/Test Files .*5 passed/);
    },
    50 * MINUTE_MS,
  );
});
