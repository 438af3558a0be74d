/* Entries straight into this namespace's connection table, BATCH requests to one send: what the kernel can do.
 * They are what a firewall with source NAT has: TCP, established, assured, translated to VIP. */
#include "common.h"
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>

#define REQUEST_MAX 512
#define ANSWERS_BYTES (8 << 20)
#define TIMEOUT_S 3600
#define LIBERAL 0x08 /* IP_CT_TCP_FLAG_BE_LIBERAL */

static char *at; /* where the next attribute goes */

static void put(int type, const void *value, int bytes)
{
	*(struct nlattr *)at = (struct nlattr){NLA_HDRLEN + bytes, type};
	memcpy(at + NLA_HDRLEN, value, bytes);
	at += NLA_ALIGN(NLA_HDRLEN + bytes);
}

static struct nlattr *open_nest(int type)
{
	struct nlattr *nest = (struct nlattr *)at;
	nest->nla_type = type | NLA_F_NESTED;
	at += NLA_HDRLEN;
	return nest;
}

static void close_nest(struct nlattr *nest) { nest->nla_len = at - (char *)nest; }

static void put_tuple(int type, uint32_t source, uint32_t target, uint16_t sport, uint16_t dport)
{
	uint8_t protocol = IPPROTO_TCP;
	struct nlattr *tuple = open_nest(type), *part = open_nest(CTA_TUPLE_IP);
	put(CTA_IP_V4_SRC, &source, 4);
	put(CTA_IP_V4_DST, &target, 4);
	close_nest(part);
	part = open_nest(CTA_TUPLE_PROTO);
	put(CTA_PROTO_NUM, &protocol, 1);
	put(CTA_PROTO_SRC_PORT, &sport, 2);
	put(CTA_PROTO_DST_PORT, &dport, 2);
	close_nest(part);
	close_nest(tuple);
}

static void put_nat(uint32_t vip, uint16_t port)
{
	struct nlattr *nat = open_nest(CTA_NAT_SRC), *range;
	put(CTA_NAT_V4_MINIP, &vip, 4);
	put(CTA_NAT_V4_MAXIP, &vip, 4);
	range = open_nest(CTA_NAT_PROTO);
	put(CTA_PROTONAT_PORT_MIN, &port, 2);
	put(CTA_PROTONAT_PORT_MAX, &port, 2);
	close_nest(range);
	close_nest(nat);
}

static void put_state(void)
{
	uint8_t state = TCP_CONNTRACK_ESTABLISHED;
	struct nf_ct_tcp_flags flags = {LIBERAL, LIBERAL};
	struct nlattr *info = open_nest(CTA_PROTOINFO), *tcp = open_nest(CTA_PROTOINFO_TCP);
	put(CTA_PROTOINFO_TCP_STATE, &state, 1);
	put(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, &flags, sizeof flags);
	put(CTA_PROTOINFO_TCP_FLAGS_REPLY, &flags, sizeof flags);
	close_nest(tcp);
	close_nest(info);
}

static void put_request(uint32_t source, uint32_t first_address, uint32_t vip, uint64_t flow)
{
	struct nlmsghdr *head = (struct nlmsghdr *)at;
	uint32_t target = htonl(first_address + flow / PORTS_PER_ADDRESS);
	uint16_t sport = htons(FIRST_PORT + flow % PORTS_PER_ADDRESS), dport = htons(FLOW_PORT);
	uint32_t timeout = htonl(TIMEOUT_S), status = htonl(IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED);
	*head = (struct nlmsghdr){.nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW,
				  .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL};
	*(struct nfgenmsg *)NLMSG_DATA(head) = (struct nfgenmsg){.nfgen_family = AF_INET};
	at += NLMSG_LENGTH(sizeof(struct nfgenmsg));
	put_tuple(CTA_TUPLE_ORIG, source, target, sport, dport);
	put_tuple(CTA_TUPLE_REPLY, target, source, dport, sport);
	put_nat(vip, sport);
	put(CTA_STATUS, &status, 4);
	put(CTA_TIMEOUT, &timeout, 4);
	put_state();
	head->nlmsg_len = at - (char *)head;
}

static uint64_t count_errors(int fd)
{
	char answer[REQUEST_MAX * 2];
	uint64_t errors = 0;
	for (;;) {
		ssize_t got = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
		if (got < 0 && errno == EAGAIN)
			return errors;
		errors++; /* nothing is acknowledged: whatever comes is a refusal, or that some were lost */
	}
}

int main(int argc, char **argv)
{
	need(argc, 6, "insert SOURCE TARGET VIP FIRST COUNT BATCH");
	uint32_t source = inet_addr(argv[1]), target = ntohl(inet_addr(argv[2])), vip = inet_addr(argv[3]);
	uint64_t first = strtoull(argv[4], NULL, 10), count = strtoull(argv[5], NULL, 10), errors = 0;
	uint64_t batch = strtoull(argv[6], NULL, 10);
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER), bytes = ANSWERS_BYTES;
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	if (fd < 0 || bind(fd, (struct sockaddr *)&kernel, sizeof kernel))
		fail("netlink");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
	char *buffer = malloc(batch * REQUEST_MAX);
	if (!buffer)
		fail("memory");

	int64_t begun = now_ns();
	for (uint64_t done = 0; done < count;) {
		at = buffer;
		for (uint64_t i = 0; i < batch && done < count; i++)
			put_request(source, target, vip, first + done++);
		if (sendto(fd, buffer, at - buffer, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
			fail("send");
		errors += count_errors(fd);
	}
	double seconds = (now_ns() - begun) / 1e9;
	printf("{\"inserted\": %llu, \"errors\": %llu, \"seconds\": %.6f, \"rate\": %.1f}\n",
	       (unsigned long long)(count - errors), (unsigned long long)errors, seconds, count / seconds);
	return 0;
}
