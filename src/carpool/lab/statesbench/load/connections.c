/* TCP connections of a whole life: open, data both ways, close. `serve` answers until it is killed; `open` makes COUNT of
 * them, at most ABREAST at a time, RATE each second (0: as fast as they go), spread over TARGETS addresses. */
#include "common.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#define PORT 7000
#define DATA_BYTES 200
#define READY_MAX 256
#define BACKLOG 4096
#define GIVE_UP_NS (20 * SECOND) /* without any progress */
#define NAP_NS 100000

static char data[DATA_BYTES];

static void watch(int poller, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};
	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
		fail("epoll");
}

static int stream_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
	if (fd < 0)
		fail("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

static void serve(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	struct epoll_event ready[READY_MAX];
	int listener = stream_socket(), poller = epoll_create1(0), one = 1;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, BACKLOG))
		fail("listen");
	watch(poller, listener, EPOLLIN);
	printf("{\"ready\": true}\n");
	fflush(stdout);
	for (;;) {
		int some = epoll_wait(poller, ready, READY_MAX, -1);
		for (int i = 0; i < some; i++) {
			int fd = ready[i].data.fd;
			if (fd == listener) {
				while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
					watch(poller, fd, EPOLLIN);
			} else if (recv(fd, data, sizeof data, 0) <= 0 || send(fd, data, sizeof data, MSG_NOSIGNAL) < 0) {
				close(fd); /* the client has closed: so do we */
			}
		}
	}
}

static void start_one(int poller, uint32_t target)
{
	struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(target)};
	int fd = stream_socket();
	if (connect(fd, (struct sockaddr *)&place, sizeof place) && errno != EINPROGRESS)
		fail("connect");
	watch(poller, fd, EPOLLOUT);
}

/* One step of a connection; how many ended (0 or 1). Whatever fails counts in `failed`. */
static int step(int poller, struct epoll_event *event, uint64_t *failed)
{
	int fd = event->data.fd;
	if (event->events & EPOLLOUT && !(event->events & (EPOLLERR | EPOLLHUP))) {
		struct epoll_event next = {.events = EPOLLIN, .data.fd = fd};
		if (send(fd, data, sizeof data, MSG_NOSIGNAL) == sizeof data && !epoll_ctl(poller, EPOLL_CTL_MOD, fd, &next))
			return 0;
	} else if (event->events & EPOLLIN && recv(fd, data, sizeof data, 0) > 0) {
		close(fd);
		return 1;
	}
	++*failed;
	close(fd);
	return 1;
}

static void open_all(char **argv)
{
	uint32_t first = ntohl(inet_addr(argv[2]));
	uint64_t targets = strtoull(argv[3], NULL, 10), count = strtoull(argv[4], NULL, 10);
	uint64_t abreast = strtoull(argv[5], NULL, 10), started = 0, ended = 0, failed = 0;
	double rate = atof(argv[6]);
	struct epoll_event ready[READY_MAX];
	int poller = epoll_create1(0);
	int64_t begun = now_ns(), progress = begun;
	while (ended < count) {
		uint64_t due = rate > 0 ? (now_ns() - begun) * rate / SECOND : count;
		for (; started < count && started < due && started - ended < abreast; started++)
			start_one(poller, first + started % targets);
		int some = epoll_wait(poller, ready, READY_MAX, started == ended ? 0 : 1);
		for (int i = 0; i < some; i++)
			ended += step(poller, &ready[i], &failed);
		if (some > 0)
			progress = now_ns();
		else if (now_ns() - progress > GIVE_UP_NS)
			break;
		else if (started == ended)
			sleep_until(now_ns() + NAP_NS);
	}
	double seconds = (now_ns() - begun) / 1e9;
	printf("{\"opened\": %llu, \"failed\": %llu, \"seconds\": %.6f, \"rate\": %.1f}\n", (unsigned long long)ended,
	       (unsigned long long)(failed + count - ended), seconds, (ended - failed) / seconds);
}

int main(int argc, char **argv)
{
	struct rlimit files = {65536, 65536};
	setrlimit(RLIMIT_NOFILE, &files);
	if (argc == 2 && !strcmp(argv[1], "serve"))
		serve();
	need(argc, 6, "connections serve | connections open TARGET TARGETS COUNT ABREAST RATE");
	open_all(argv);
	return 0;
}
