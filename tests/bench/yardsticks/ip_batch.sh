#!/bin/sh
# `ip -batch`: one for the namespaces, one for the host, one in each namespace: ip_batch.sh NODES
set -e
nodes=$(seq 0 $(($1 - 1)))
for node in $nodes; do
    echo "netns add ip.$node"
done | ip -batch -
{
    echo "link add br0 type bridge forward_delay 0 mcast_snooping 0"
    echo "link set br0 up"
    echo "address add 10.0.0.1/16 dev br0"
    for node in $nodes; do
        echo "link add v$node type veth peer name eth0 netns ip.$node"
        echo "link set v$node master br0"
        echo "link set v$node up"
    done
} | ip -batch -
for node in $nodes; do
    ip -netns "ip.$node" -batch - <<END
link set lo up
link set eth0 up
address add 10.0.$((node / 250)).$((node % 250 + 2))/16 dev eth0
route add default via 10.0.0.1
END
done
