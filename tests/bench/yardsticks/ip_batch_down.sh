#!/bin/sh
# The end of what ip_batch.sh made, so that it can be made again at once: ip_batch_down.sh NODES
set -e
for node in $(seq 0 $(($1 - 1))); do
    echo "link delete v$node"
    echo "netns delete ip.$node"
done | ip -batch -
ip link delete br0
