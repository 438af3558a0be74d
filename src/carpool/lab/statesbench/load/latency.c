/* First packets of new UDP flows from this namespace, and when another one's connection table has them.
 * The watcher listens for NEW events at real-time priority: the kernel makes one when an entry is there. */
#include "common.h"
#include <fcntl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <pthread.h>

#define LATENCY_PORT 7777
#define RECEIVE_BYTES (64 << 20)
#define WATCHER_PRIORITY 5
#define SETTLE_NS (2 * SECOND) /* how long the last ones may take */

static int64_t *sent_ns, *seen_ns;
static int count, first_port;
static volatile int over;

static const struct nlattr *find(const struct nlattr *within, int bytes, int type)
{
	for (; bytes >= NLA_HDRLEN && within->nla_len >= NLA_HDRLEN && within->nla_len <= bytes;) {
		if ((within->nla_type & NLA_TYPE_MASK) == type)
			return within;
		int step = NLA_ALIGN(within->nla_len);
		bytes -= step;
		within = (const struct nlattr *)((const char *)within + step);
	}
	return NULL;
}

static const struct nlattr *inside(const struct nlattr *nest, int type)
{
	return nest ? find((const struct nlattr *)((const char *)nest + NLA_HDRLEN), nest->nla_len - NLA_HDRLEN, type) : NULL;
}

static int port_of(const struct nlattr *attribute)
{
	uint16_t port;
	if (!attribute)
		return -1;
	memcpy(&port, (const char *)attribute + NLA_HDRLEN, 2);
	return ntohs(port);
}

static void *watch(void *argument)
{
	static char event[8192];
	int fd = *(int *)argument;
	be_realtime(WATCHER_PRIORITY);
	while (!over) {
		ssize_t got = recv(fd, event, sizeof event, 0);
		int64_t at = now_ns();
		const struct nlmsghdr *head = (const struct nlmsghdr *)event;
		if (got < (ssize_t)NLMSG_LENGTH(sizeof(struct nfgenmsg)))
			continue;
		int skip = NLMSG_LENGTH(sizeof(struct nfgenmsg));
		const struct nlattr *body = (const struct nlattr *)(event + skip);
		const struct nlattr *ports = inside(find(body, head->nlmsg_len - skip, CTA_TUPLE_ORIG), CTA_TUPLE_PROTO);
		int flow = port_of(inside(ports, CTA_PROTO_SRC_PORT)) - first_port;
		if (port_of(inside(ports, CTA_PROTO_DST_PORT)) == LATENCY_PORT && flow >= 0 && flow < count && !seen_ns[flow])
			seen_ns[flow] = at;
	}
	return NULL;
}

static int events_of(const char *namespace)
{
	/* The socket stays in the namespace that it was made in; we go back to ours. */
	char path[256];
	snprintf(path, sizeof path, "/run/netns/%s", namespace);
	int ours = open("/proc/self/ns/net", O_RDONLY), theirs = open(path, O_RDONLY), bytes = RECEIVE_BYTES;
	if (ours < 0 || theirs < 0 || setns(theirs, 0))
		fail(path);
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
	struct sockaddr_nl place = {.nl_family = AF_NETLINK, .nl_groups = 1 << (NFNLGRP_CONNTRACK_NEW - 1)};
	struct timeval patience = {0, 100000};
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	if (fd < 0 || bind(fd, (struct sockaddr *)&place, sizeof place) || setns(ours, 0))
		fail("conntrack events");
	return fd;
}

static void send_flows(const char *target, double rate)
{
	struct sockaddr_in place = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_UDP);
	if (fd < 0 || inet_aton(target, &place.sin_addr) == 0)
		fail(target);
	int64_t next = now_ns();
	srand(1);
	for (int flow = 0; flow < count; flow++) {
		uint16_t datagram[4] = {htons(first_port + flow), htons(LATENCY_PORT), htons(8), 0};
		next += SECOND / rate * (0.5 + rand() / (double)RAND_MAX); /* never in step with anything */
		sleep_until(next);
		sent_ns[flow] = now_ns();
		if (sendto(fd, datagram, sizeof datagram, 0, (struct sockaddr *)&place, sizeof place) < 0)
			fail("send");
	}
}

int main(int argc, char **argv)
{
	need(argc, 5, "latency BACKUP_NAMESPACE TARGET FIRST_PORT COUNT RATE");
	first_port = atoi(argv[3]);
	count = atoi(argv[4]);
	sent_ns = calloc(count, sizeof *sent_ns);
	seen_ns = calloc(count, sizeof *seen_ns);
	int fd = events_of(argv[1]);
	pthread_t watcher;
	if (!sent_ns || !seen_ns || pthread_create(&watcher, NULL, watch, &fd))
		fail("watcher");
	send_flows(argv[2], atof(argv[5]));
	sleep_until(now_ns() + SETTLE_NS);
	over = 1;
	pthread_join(watcher, NULL);

	int seen = 0;
	printf("{\"sent\": %d, \"microseconds\": [", count);
	for (int flow = 0; flow < count; flow++)
		if (seen_ns[flow])
			printf("%s%.1f", seen++ ? ", " : "", (seen_ns[flow] - sent_ns[flow]) / 1e3);
	printf("]}\n");
	return 0;
}
