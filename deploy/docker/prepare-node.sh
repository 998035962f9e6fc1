#!/bin/sh
# millibox-prepare-node DATA: makes a node ready for an agent that runs in a container. Runs before each agent, as root,
# privileged, in the node's process namespace, with DATA of the node mounted at the same path.
set -eu
data=${1:?usage: millibox-prepare-node DATA}
disks=$data/agent/oci/disks

# boxinit is the first process of sandboxes that outlive this container and its image: it lies on the node. Renamed into
# its place, since the one that is there may be running.
mkdir -p "$data/bin"
cp /opt/millibox/boxinit "$data/bin/.boxinit.new"
chmod 0755 "$data/bin/.boxinit.new"
mv "$data/bin/.boxinit.new" "$data/bin/boxinit"

# Disks of a size are handed to containers through a mount that all agents of this node share, the earlier and the later
# ones: made by an agent in its own mount namespace it would end with it, and containers that wait since then would not
# see what their next agent mounts.
on_node() { nsenter --target 1 --mount -- "$@"; }
if ! on_node mountpoint -q "$disks"; then
  mkdir -p "$disks"
  chmod 0711 "$data" "$data/agent"
  chmod 0700 "$disks"
  if on_node mount --bind "$disks" "$disks" && on_node mount --make-private "$disks"; then
    on_node mount --make-shared "$disks"
  else
    echo "no mount on the node: after the next restart of its agent, containers that wait cannot be given disks" >&2
  fi
fi
