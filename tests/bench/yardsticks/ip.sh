#!/bin/sh
# A shell of `ip` commands, as most people's first script is: ip.sh NODES
set -e
ip link add br0 type bridge forward_delay 0 mcast_snooping 0
ip link set br0 up
ip address add 10.0.0.1/16 dev br0
node=0
while [ "$node" -lt "$1" ]; do
    netns=ip.$node
    ip netns add "$netns"
    ip link add "v$node" type veth peer name eth0 netns "$netns"
    ip link set "v$node" master br0
    ip link set "v$node" up
    ip -netns "$netns" link set lo up
    ip -netns "$netns" link set eth0 up
    ip -netns "$netns" address add "10.0.$((node / 250)).$((node % 250 + 2))/16" dev eth0
    ip -netns "$netns" route add default via 10.0.0.1
    node=$((node + 1))
done
