#!/bin/sh
# millibox-prepare-node DATA: makes a node ready for an agent that runs in a container. Runs before each agent, as root,
# privileged, with DATA of the node mounted at the same path so that mounts spread to the node (Bidirectional, rshared).
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
# ones: it spreads to the node, and from there into the next agent. Made by an agent for itself it would end with it, and
# containers that wait since then would not see what their next agent mounts.
mkdir -p "$disks"
chmod 0711 "$data" "$data/agent"
chmod 0700 "$disks"
if ! mountpoint -q "$disks"; then mount --bind "$disks" "$disks"; fi
