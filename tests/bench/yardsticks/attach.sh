#!/bin/sh
# One interface for the container with process PID, as pipework-like scripts do it: attach.sh BRIDGE PID IFACE IP/LEN GATEWAY
set -e
bridge=$1 pid=$2 inside=$3 address=$4 gateway=$5

# Is the first word a bridge, and who is the guest?
[ -d "/sys/class/net/$bridge" ] && { [ -d "/sys/class/net/$bridge/bridge" ] || which ovs-vsctl >/dev/null 2>&1; }
while read -r _ mount kind options _; do
    [ "$kind" = cgroup ] && echo "$options" | grep -qw devices && groups=$mount
done </proc/mounts
find "${groups:-/sys/fs/cgroup}" -maxdepth 3 -name "$pid" | wc -l >/dev/null
which docker >/dev/null 2>&1 || true
echo "$address" | grep -q /

# A name by which ip can enter it, and the bridge
mkdir -p /var/run/netns
rm -f "/var/run/netns/$pid"
ln -s "/proc/$pid/ns/net" "/var/run/netns/$pid"
[ -d "/sys/class/net/$bridge" ] || { ip link add dev "$bridge" type bridge; ip link set "$bridge" up; }

mtu=$(ip link show "$bridge" | awk '{print $5; exit}')
here=v${inside}pl$pid there=v${inside}pg$pid
ip link add name "$here" mtu "$mtu" type veth peer name "$there" mtu "$mtu"
ip link set "$here" master "$bridge"
ip link set "$here" up
ip link set "$there" netns "$pid"
ip netns exec "$pid" ip link set "$there" name "$inside"
ip netns exec "$pid" ip addr add "$address" dev "$inside"
ip netns exec "$pid" ip route delete default >/dev/null 2>&1 || true
ip netns exec "$pid" ip link set "$inside" up
ip netns exec "$pid" ip route get "$gateway" >/dev/null 2>&1 || ip netns exec "$pid" ip route add "$gateway/32" dev "$inside"
ip netns exec "$pid" ip route replace default via "$gateway"
which arping >/dev/null 2>&1 && ip netns exec "$pid" arping -c 1 -A -I "$inside" "${address%/*}" >/dev/null 2>&1
rm -f "/var/run/netns/$pid"
