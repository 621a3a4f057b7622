#!/bin/sh
# The end of what ip_batch.sh made: ip_batch_down.sh NODES
set -e
{
    for node in $(seq 0 $(($1 - 1))); do
        echo "netns delete ip.$node"
    done
    echo "link delete br0"
} | ip -batch -
