#!/bin/sh
# What disturbs a kernel: disturbance.sh links|processor, for ever.
case $1 in
links)
    ip link set lo up
    ip link add n0 type veth peer name n1
    ip link set n0 up
    {
        for number in $(seq 200); do
            echo "neighbour replace 198.51.100.$number lladdr 02:00:00:00:00:01 dev n0 nud reachable"
        done
        echo "neighbour flush dev n0"
        for number in $(seq 50); do
            echo "link add v$number type veth peer name w$number"
        done
        for number in $(seq 50); do
            echo "link delete v$number"
        done
    } > "${TMPDIR:-/tmp}/disturbance.$$"
    exec 3< "${TMPDIR:-/tmp}/disturbance.$$"
    rm "${TMPDIR:-/tmp}/disturbance.$$"
    while :; do
        ip -batch /proc/self/fd/3 || exit
    done
    ;;
processor)
    while :; do :; done
    ;;
esac
