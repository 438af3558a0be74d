/* One-way UDP flows, one packet each, as raw frames: nothing answers and nothing slows it down but its own rate.
 * With a real-time priority no other process of the machine can throttle it. RATE 0: as fast as it can. */
#include "common.h"
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/ioctl.h>

#define BATCH 32
#define FRAME 60
#define PACKET_QDISC_BYPASS_ 20
#define NAP_NS 20000

static uint16_t checksum(const void *data, int bytes)
{
	const uint16_t *word = data;
	uint32_t sum = 0;
	for (; bytes > 1; bytes -= 2)
		sum += *word++;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static void write_frame(unsigned char *frame, const unsigned char *to, const unsigned char *from, const char *source)
{
	unsigned char *ip = frame + 14;
	memcpy(frame, to, 6);
	memcpy(frame + 6, from, 6);
	frame[12] = 0x08; /* IPv4 */
	ip[0] = 0x45;
	ip[3] = FRAME - 14;
	ip[8] = 64; /* TTL */
	ip[9] = IPPROTO_UDP;
	inet_pton(AF_INET, source, ip + 12);
	ip[22] = FLOW_PORT >> 8;
	ip[23] = FLOW_PORT & 255;
	ip[25] = FRAME - 14 - 20;
}

static void address_flow(unsigned char *frame, uint32_t first_address, uint64_t flow)
{
	unsigned char *ip = frame + 14;
	uint32_t target = htonl(first_address + flow / PORTS_PER_ADDRESS);
	uint16_t port = htons(FIRST_PORT + flow % PORTS_PER_ADDRESS), sum;
	memcpy(ip + 16, &target, 4);
	memcpy(ip + 20, &port, 2);
	ip[10] = ip[11] = 0;
	sum = checksum(ip, 20);
	memcpy(ip + 10, &sum, 2);
}

int main(int argc, char **argv)
{
	need(argc, 8, "flows DEVICE GATEWAY_MAC SOURCE TARGET FIRST COUNT RATE PRIORITY");
	uint64_t first = strtoull(argv[5], NULL, 10), count = strtoull(argv[6], NULL, 10), sent = 0;
	double rate = atof(argv[7]);
	uint32_t first_address = ntohl(inet_addr(argv[4]));
	unsigned char to[6];
	if (sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", to, to + 1, to + 2, to + 3, to + 4, to + 5) != 6)
		fail("gateway's MAC");
	be_realtime(atoi(argv[8]));

	int fd = socket(AF_PACKET, SOCK_RAW, 0), one = 1;
	struct ifreq request = {0};
	snprintf(request.ifr_name, sizeof request.ifr_name, "%s", argv[1]);
	if (fd < 0 || ioctl(fd, SIOCGIFINDEX, &request))
		fail(argv[1]);
	struct sockaddr_ll place = {.sll_family = AF_PACKET, .sll_ifindex = request.ifr_ifindex};
	if (bind(fd, (struct sockaddr *)&place, sizeof place) || ioctl(fd, SIOCGIFHWADDR, &request))
		fail(argv[1]);
	setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS_, &one, sizeof one);

	static unsigned char frames[BATCH][FRAME];
	struct iovec parts[BATCH];
	struct mmsghdr messages[BATCH] = {0};
	for (int i = 0; i < BATCH; i++) {
		write_frame(frames[i], to, (unsigned char *)request.ifr_hwaddr.sa_data, argv[3]);
		parts[i] = (struct iovec){frames[i], FRAME};
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	int64_t begun = now_ns();
	while (sent < count) {
		uint64_t due = rate > 0 ? (now_ns() - begun) * rate / SECOND : count;
		int some = (due < count ? due : count) - sent > BATCH ? BATCH : (int)((due < count ? due : count) - sent);
		if (due <= sent) {
			sleep_until(now_ns() + NAP_NS);
			continue;
		}
		for (int i = 0; i < some; i++)
			address_flow(frames[i], first_address, first + sent + i);
		int done = sendmmsg(fd, messages, some, 0);
		if (done > 0)
			sent += done;
		else if (errno != ENOBUFS && errno != EAGAIN)
			fail("sendmmsg");
	}
	double seconds = (now_ns() - begun) / 1e9;
	printf("{\"sent\": %llu, \"seconds\": %.6f, \"rate\": %.1f}\n", (unsigned long long)sent, seconds, sent / seconds);
	return 0;
}
