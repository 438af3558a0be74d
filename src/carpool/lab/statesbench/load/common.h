/* What the loads share: a clock, real-time priority, arguments. Each program says what it does in its first lines and
 * prints one line of JSON; a mistake is told on stderr, exit code 1. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define PORTS_PER_ADDRESS 60000 /* flow i: source port FIRST_PORT + i % this, destination FIRST + i / this */
#define FIRST_PORT 1024
#define FLOW_PORT 7000

static inline int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t); /* the same in all namespaces */
	return t.tv_sec * SECOND + t.tv_nsec;
}

static inline void sleep_until(int64_t ns)
{
	struct timespec t = {ns / SECOND, ns % SECOND};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static inline void fail(const char *what)
{
	perror(what);
	exit(1);
}

static inline void be_realtime(int priority)
{
	struct sched_param parameter = {.sched_priority = priority};
	if (priority > 0 && sched_setscheduler(0, SCHED_FIFO, &parameter))
		fail("real-time priority");
}

static inline void need(int have, int wanted, const char *usage)
{
	if (have != wanted + 1) {
		fprintf(stderr, "usage: %s\n", usage);
		exit(1);
	}
}
