#!/bin/sh
# millibox-prepare-node DATA: prepares a node for an agent that runs in a container. Runs before each agent, as root and
# privileged, with the node's DATA mounted at the same path so that mounts propagate to the node (Bidirectional, rshared).
set -eu
data=${1:?usage: millibox-prepare-node DATA}
disks=$data/agent/oci/disks

# boxinit is process 1 of sandboxes that outlive this container and its image, so it is copied to the node. Renamed into
# place, because the existing file may be running.
mkdir -p "$data/bin"
cp /opt/millibox/boxinit "$data/bin/.boxinit.new"
chmod 0755 "$data/bin/.boxinit.new"
mv "$data/bin/.boxinit.new" "$data/bin/boxinit"

# Containers get their limited disks through a mount that all agents of this node share, earlier and later ones: it
# propagates to the node, and from there into the next agent. A mount made by an agent for itself would end with it, and
# warm containers would not see what the next agent mounts.
mkdir -p "$disks"
chmod 0711 "$data" "$data/agent"
chmod 0700 "$disks"
if ! mountpoint -q "$disks"; then mount --bind "$disks" "$disks"; fi
