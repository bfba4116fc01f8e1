/* Traffic for the network benchmarks: a server, and clients that measure. Static, so that it runs in a busybox image.
 *
 *   pump serve PORT                          answers both clients below, for ever
 *   pump send HOST PORT SECONDS              one stream; prints Gbit/s
 *   pump connect HOST PORT SECONDS THREADS   a connection, 64 bytes each way, close; prints connections per second
 *   pump lookup SERVER NAME SECONDS CLIENTS  queries for A records; prints the 50th and 99th percentile in microseconds
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 1 << 17, SHORT = 64, MOST = 1 << 20 };
static struct sockaddr_storage target;
static socklen_t target_size;
static const char *name;
static double until;
static atomic_long total;
static double *times;
static atomic_long taken;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void aim(const char *host, int port) {
  struct sockaddr_in *v4 = (void *)&target;
  struct sockaddr_in6 *v6 = (void *)&target;
  if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET, v4->sin_port = htons(port), target_size = sizeof *v4;
  } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6, v6->sin6_port = htons(port), target_size = sizeof *v6;
  } else {
    fprintf(stderr, "%s: no address\n", host), exit(2);
  }
}

static int dial(void) {
  int fd = socket(target.ss_family, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (void *)&target, target_size)) die("connect");
  return fd;
}

static void *answer(void *given) {
  int fd = (int)(intptr_t)given;
  char *block = malloc(BLOCK);
  ssize_t n = read(fd, block, BLOCK);
  if (n > 0 && block[0] == 'P') {
    while (n < SHORT) {
      ssize_t more = read(fd, block, SHORT - n);
      if (more <= 0) break;
      n += more;
    }
    if (write(fd, block, SHORT) < 0) perror("write");
  } else {
    while (n > 0) n = read(fd, block, BLOCK);
    if (write(fd, "done", 4) < 0) perror("write");
  }
  close(fd);
  free(block);
  return NULL;
}

static void serve(int port) {
  struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
  int one = 1, fd = socket(AF_INET6, SOCK_STREAM, 0);
  int six = fd >= 0;
  if (!six) fd = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (six ? bind(fd, (void *)&any, sizeof any) : bind(fd, (void *)&any4, sizeof any4)) die("bind");
  listen(fd, 4096);
  pthread_attr_t plain;
  pthread_attr_init(&plain);
  pthread_attr_setdetachstate(&plain, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&plain, 1 << 16);
  for (;;) {
    pthread_t thread;
    int client = accept(fd, NULL, NULL);
    if (client >= 0 && pthread_create(&thread, &plain, answer, (void *)(intptr_t)client)) close(client);
  }
}

static void send_all(void) {
  int fd = dial();
  char *block = calloc(1, BLOCK), end[4];
  double begin = now(), bytes = 0;
  block[0] = 'S';
  while (now() < until) {
    ssize_t n = write(fd, block, BLOCK);
    if (n < 0) die("write");
    bytes += n;
  }
  shutdown(fd, SHUT_WR);
  if (read(fd, end, 4) != 4) die("read"); /* all of it has arrived */
  printf("%.3f\n", bytes * 8 / (now() - begin) / 1e9);
}

static void *connects(void *unused) {
  char text[SHORT] = "P";
  struct linger reset = {1, 0}; /* no TIME_WAIT: the ports would run out */
  (void)unused;
  while (now() < until) {
    int fd = dial();
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (write(fd, text, SHORT) != SHORT) die("write");
    for (ssize_t n = 0, more; n < SHORT; n += more)
      if ((more = read(fd, text, SHORT)) <= 0) die("read");
    text[0] = 'P';
    close(fd);
    total++;
  }
  return NULL;
}

static void *looks_up(void *given) {
  unsigned char query[512] = {0}, reply[1500];
  int fd = socket(target.ss_family, SOCK_DGRAM, 0);
  struct timeval patience = {2, 0};
  size_t at = 12;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (connect(fd, (void *)&target, target_size)) die("connect");
  query[0] = (unsigned char)(intptr_t)given, query[2] = 1, query[5] = 1;
  for (const char *part = name; *part;) {
    size_t n = strcspn(part, ".");
    query[at++] = (unsigned char)n;
    memcpy(query + at, part, n), at += n, part += n + (part[n] == '.');
  }
  at++, query[at + 1] = 1, query[at + 3] = 1, at += 4;
  while (now() < until) {
    double begin = now();
    query[1]++;
    if (send(fd, query, at, 0) < 0) die("send");
    ssize_t n = recv(fd, reply, sizeof reply, 0);
    if (n < 12 || reply[7] == 0) fprintf(stderr, "no answer\n"), exit(1);
    long slot = taken++;
    if (slot < MOST) times[slot] = now() - begin;
  }
  return NULL;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void together(void *(*what)(void *), int count) {
  pthread_t all[256];
  for (int i = 0; i < count && i < 256; i++) pthread_create(&all[i], NULL, what, (void *)(intptr_t)i);
  for (int i = 0; i < count && i < 256; i++) pthread_join(all[i], NULL);
}

int main(int argc, char **argv) {
  if (argc == 3 && !strcmp(argv[1], "serve")) serve(atoi(argv[2]));
  if (argc < 5) return fprintf(stderr, "see the source\n"), 2;
  double seconds = atof(argv[4]);
  until = now() + seconds;
  if (!strcmp(argv[1], "send")) {
    aim(argv[2], atoi(argv[3]));
    send_all();
  } else if (!strcmp(argv[1], "connect") && argc == 6) {
    aim(argv[2], atoi(argv[3]));
    together(connects, atoi(argv[5]));
    printf("%.0f\n", total / seconds);
  } else if (!strcmp(argv[1], "lookup") && argc == 6) {
    aim(argv[2], 53);
    name = argv[3];
    times = calloc(MOST, sizeof *times);
    together(looks_up, atoi(argv[5]));
    long n = taken < MOST ? taken : MOST;
    qsort(times, n, sizeof *times, compare);
    printf("%.1f %.1f\n", times[n / 2] * 1e6, times[n * 99 / 100] * 1e6);
  } else {
    return fprintf(stderr, "see the source\n"), 2;
  }
  return 0;
}
