/* The kernel's own share of a fabric: what any program must ask for, and nothing else.
 *
 *     kernel_floor make NODES BRIDGES    NODES namespaces, each with a veth to one of BRIDGES bridges
 *     kernel_floor drop NODES            unmounts the namespaces, waits until no link of theirs is left, ends the bridges
 *
 * The recipe is netfab's: namespaces first, then all veths, then one batch in each namespace, then the host's ends;
 * one queue pair, indexes that we choose, no IPv6 address, born down. Nothing is read back, no name is planned and no
 * label set: it is the yardstick of the benchmarks and shares no code with netfab.
 * Sources: rtnetlink(7), linux/if_link.h, linux/if_bridge.h.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORY "/run/netns"
#define GROUP 0x6e7fffffu
#define MTU 1500u
#define BATCH 64          /* messages in one send; more gains nothing */
#define BRIDGE_INDEX 10   /* of the first bridge */
#define LINK_INDEX 10000  /* of the first veth; both ends of all have indexes of their own */
#define NETWORK 0x0a000000u /* 10.0.0.0/8: a /16 for each bridge, whose own address is .0.1 */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* One batch of messages: they are laid end to end and sent together. */
static struct {
    char bytes[BATCH * 512];
    size_t length;
    int messages;
    struct nlmsghdr *last;
} batch;

static int open_netlink(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        die("socket");
    return fd;
}

/* The kernel works through a batch inside send(2); no acknowledgement is asked for, so an answer is a refusal. */
static void flush(int fd)
{
    char answer[8192];
    if (!batch.messages)
        return;
    if (send(fd, batch.bytes, batch.length, 0) < 0)
        die("send");
    ssize_t got = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
    if (got > 0) {
        struct nlmsgerr *refusal = NLMSG_DATA((struct nlmsghdr *)answer);
        fprintf(stderr, "refused message of type %d: %s\n", refusal->msg.nlmsg_type, strerror(-refusal->error));
        exit(1);
    }
    if (got < 0 && errno != EAGAIN)
        die("recv");
    batch.length = batch.messages = 0;
}

static void begin(int type, int flags, const void *body, size_t size)
{
    batch.last = (struct nlmsghdr *)(batch.bytes + batch.length);
    memset(batch.last, 0, NLMSG_SPACE(size));
    *batch.last = (struct nlmsghdr){NLMSG_LENGTH(size), type, NLM_F_REQUEST | flags, 0, 0};
    memcpy(NLMSG_DATA(batch.last), body, size);
    batch.length += NLMSG_SPACE(size);
    batch.messages++;
}

static struct rtattr *attr(int type, const void *data, size_t size)
{
    struct rtattr *at = (struct rtattr *)(batch.bytes + batch.length);
    memset(at, 0, RTA_SPACE(size));
    at->rta_len = RTA_LENGTH(size);
    at->rta_type = type;
    if (data)
        memcpy(RTA_DATA(at), data, size);
    batch.length += RTA_SPACE(size);
    batch.last->nlmsg_len = batch.bytes + batch.length - (char *)batch.last;
    return at;
}

static void attr32(int type, uint32_t value)
{
    attr(type, &value, sizeof value);
}

static struct rtattr *nest(int type)
{
    return attr(type, NULL, 0);
}

static void close_nest(struct rtattr *at)
{
    at->rta_len = batch.bytes + batch.length - (char *)at;
}

static void link_message(int flags, int index, int up)
{
    struct ifinfomsg info = {.ifi_index = index, .ifi_flags = up ? IFF_UP : 0, .ifi_change = up ? IFF_UP : 0};
    begin(RTM_NEWLINK, flags, &info, sizeof info);
}

static void name_and_mac(const char *name, int kind, int number)
{
    uint8_t mac[6] = {2, kind, 0, 0, number >> 8, number};
    attr(IFLA_IFNAME, name, strlen(name) + 1);
    attr(IFLA_ADDRESS, mac, sizeof mac);
    attr32(IFLA_GROUP, GROUP);
}

/* INET6_ADDR_GEN_MODE none: no link-local address. Refused in the creating message, and too late in the one with up. */
static void no_ipv6_address(int index)
{
    uint8_t none = IN6_ADDR_GEN_MODE_NONE;
    link_message(0, index, 0);
    struct rtattr *spec = nest(IFLA_AF_SPEC);
    struct rtattr *inet6 = nest(AF_INET6);
    attr(IFLA_INET6_ADDR_GEN_MODE, &none, sizeof none);
    close_nest(inet6);
    close_nest(spec);
}

static void address(int index, uint32_t host_order)
{
    uint32_t value = htonl(host_order);
    struct ifaddrmsg info = {.ifa_family = AF_INET, .ifa_prefixlen = 16, .ifa_index = index};
    begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
    attr(IFA_LOCAL, &value, sizeof value);
    attr(IFA_ADDRESS, &value, sizeof value);
}

static uint32_t network(int bridge)
{
    return NETWORK + ((uint32_t)bridge << 16);
}

static void default_route(int index, int bridge)
{
    struct rtmsg info = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_STATIC,
                         .rtm_type = RTN_UNICAST};
    uint32_t gateway = htonl(network(bridge) + 1);
    begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
    attr(RTA_GATEWAY, &gateway, sizeof gateway);
    attr32(RTA_OIF, index);
}

static int host_end(int node)
{
    return LINK_INDEX + 2 * node;
}

static int node_end(int node)
{
    return LINK_INDEX + 2 * node + 1;
}

static void make_bridge(int host, int bridge)
{
    char name[IFNAMSIZ];
    uint32_t zero = 0;
    uint8_t no_snooping = 0;
    snprintf(name, sizeof name, "br%d", bridge);
    link_message(NLM_F_CREATE | NLM_F_EXCL, BRIDGE_INDEX + bridge, 0);
    name_and_mac(name, 0, bridge);
    struct rtattr *info = nest(IFLA_LINKINFO);
    attr(IFLA_INFO_KIND, "bridge", 6);
    struct rtattr *data = nest(IFLA_INFO_DATA);
    attr(IFLA_BR_FORWARD_DELAY, &zero, sizeof zero);
    attr(IFLA_BR_MCAST_SNOOPING, &no_snooping, sizeof no_snooping);
    close_nest(data);
    close_nest(info);
    no_ipv6_address(BRIDGE_INDEX + bridge);
    link_message(0, BRIDGE_INDEX + bridge, 1);
    address(BRIDGE_INDEX + bridge, network(bridge) + 1);
    flush(host);
}

/* A namespace with lo up, bound at its path. The thread stays in it. Gives the netlink socket in it and its own fd. */
static void make_namespace(int node, int *netlink, int *namespace)
{
    char path[64];
    snprintf(path, sizeof path, DIRECTORY "/floor.%d", node);
    if (unshare(CLONE_NEWNET))
        die("unshare");
    *netlink = open_netlink();
    link_message(0, 1, 1);
    attr32(IFLA_GROUP, GROUP);
    flush(*netlink);
    close(open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0));
    if (mount("/proc/thread-self/ns/net", path, NULL, MS_BIND, NULL))
        die(path);
    *namespace = open(path, O_RDONLY | O_CLOEXEC);
    if (*namespace < 0)
        die(path);
}

static void born(const char *name, int kind, int node)
{
    name_and_mac(name, kind, node);
    attr32(IFLA_MTU, MTU);
    attr32(IFLA_NUM_TX_QUEUES, 1);
    attr32(IFLA_NUM_RX_QUEUES, 1);
}

static void make_veth(int node, int namespace)
{
    char name[IFNAMSIZ];
    struct ifinfomsg peer_info = {.ifi_index = node_end(node)};
    snprintf(name, sizeof name, "v%d", node);
    link_message(NLM_F_CREATE | NLM_F_EXCL, host_end(node), 0);
    born(name, 1, node);
    struct rtattr *info = nest(IFLA_LINKINFO);
    attr(IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = nest(IFLA_INFO_DATA);
    struct rtattr *peer = attr(VETH_INFO_PEER, &peer_info, sizeof peer_info);
    born("eth0", 2, node);
    attr32(IFLA_NET_NS_FD, namespace);
    close_nest(peer);
    close_nest(data);
    close_nest(info);
}

static void finish_node_end(int node, int bridge, int netlink)
{
    int index = node_end(node);
    no_ipv6_address(index);
    link_message(0, index, 1);
    address(index, network(bridge) + 2 + node);
    default_route(index, bridge);
    flush(netlink);
}

static void finish_host_end(int node, int bridge)
{
    no_ipv6_address(host_end(node));
    attr32(IFLA_MASTER, BRIDGE_INDEX + bridge);
    link_message(0, host_end(node), 1);
}

static void make(int nodes, int bridges)
{
    int *netlinks = malloc(nodes * sizeof *netlinks);
    int *namespaces = malloc(nodes * sizeof *namespaces);
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int host = open_netlink();
    struct rlimit files = {2 * nodes + 64, 2 * nodes + 64};
    if (setrlimit(RLIMIT_NOFILE, &files))
        die("setrlimit");
    mkdir(DIRECTORY, 0755);
    for (int bridge = 0; bridge < bridges; bridge++)
        make_bridge(host, bridge);
    for (int node = 0; node < nodes; node++)
        make_namespace(node, &netlinks[node], &namespaces[node]);
    if (setns(home, CLONE_NEWNET))
        die("setns");
    for (int node = 0; node < nodes; node++) {
        make_veth(node, namespaces[node]);
        if (batch.messages == BATCH || node == nodes - 1)
            flush(host);
    }
    for (int node = 0; node < nodes; node++)
        finish_node_end(node, node % bridges, netlinks[node]);
    for (int node = 0; node < nodes; node++) {
        finish_host_end(node, node % bridges);
        if (batch.messages == BATCH || node == nodes - 1)
            flush(host);
    }
}

/* Hear RTM_DELLINK of that many veth ends of ours. */
static void hear_the_end(int monitor, int nodes)
{
    static char heard[1 << 16];
    while (nodes > 0) {
        int length = recv(monitor, heard, sizeof heard, 0);
        if (length < 0)
            die("recv");
        for (struct nlmsghdr *at = (void *)heard; NLMSG_OK(at, (unsigned)length); at = NLMSG_NEXT(at, length)) {
            struct ifinfomsg *info = NLMSG_DATA(at);
            if (at->nlmsg_type == RTM_DELLINK && info->ifi_family == AF_UNSPEC && info->ifi_index >= LINK_INDEX)
                nodes--;
        }
    }
}

static void drop(int nodes)
{
    char path[64];
    int buffer = 1 << 28; /* bytes; what is not heard is lost */
    struct sockaddr_nl links = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
    int monitor = open_netlink();
    if (setsockopt(monitor, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer)
        || bind(monitor, (struct sockaddr *)&links, sizeof links))
        die("monitor");
    for (int node = 0; node < nodes; node++) {
        snprintf(path, sizeof path, DIRECTORY "/floor.%d", node);
        if (umount2(path, MNT_DETACH) || unlink(path))
            die(path);
    }
    hear_the_end(monitor, nodes);
    struct ifinfomsg bridges = {0};
    begin(RTM_DELLINK, 0, &bridges, sizeof bridges);
    attr32(IFLA_GROUP, GROUP);
    flush(open_netlink());
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "make"))
        make(atoi(argv[2]), atoi(argv[3]));
    else if (argc == 3 && !strcmp(argv[1], "drop"))
        drop(atoi(argv[2]));
    else {
        fprintf(stderr, "usage: kernel_floor make NODES BRIDGES | drop NODES\n");
        return 2;
    }
    return 0;
}
