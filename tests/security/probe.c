/* What tests ask of the kernel from inside a container: static, no shell, raw arguments.
 *
 *   probe syscall NR ARG...     make a call with 64-bit arguments, print its errno (0: success)
 *   probe open PATH FLAGS       open a file, print the errno
 *   probe type TEXT             push TEXT into the terminal of fd 0 (TIOCSTI, then TIOCLINUX), print both errnos
 *   probe fds                   print what the descriptors of this process from 3 on refer to
 *   probe spy MILLISECONDS      open every descriptor, and the root, of processes that appear, and trace them; print what
 *                               could be done to those that do not run a file of this root yet
 *   probe status                print the Cap, Groups, NoNewPrivs and Seccomp lines of /proc/self/status
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static unsigned long long number(const char *text) { return strtoull(text, NULL, 0); }

static int report(long result) {
  printf("%d\n", result < 0 ? errno : 0);
  return 0;
}

static int do_syscall(int argc, char **argv) {
  unsigned long long a[7] = {0};
  for (int i = 0; i < 7 && i < argc; i++) a[i] = number(argv[i]);
  return report(syscall((long)a[0], a[1], a[2], a[3], a[4], a[5], a[6]));
}

static int do_type(const char *text) {
  int sti = 0, pasted = 0;
  for (const char *c = text; *c; c++)
    if (ioctl(0, TIOCSTI, c) < 0) sti = errno;
  char paste[] = {3};
  if (ioctl(0, TIOCLINUX, paste) < 0) pasted = errno;
  printf("TIOCSTI %d TIOCLINUX %d\n", sti, pasted);
  return 0;
}

static int do_fds(void) {
  DIR *all = opendir("/proc/self/fd");
  if (!all) return 1;
  for (struct dirent *e; (e = readdir(all));) {
    int fd = atoi(e->d_name);
    char path[64], target[4096];
    if (fd < 3 || fd == dirfd(all)) continue;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, target, sizeof target - 1);
    target[n < 0 ? 0 : n] = 0;
    printf("%d %s\n", fd, target);
  }
  return 0;
}

static long now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Looks at one process as closely as the kernel allows; how often it was seen at all. */
static int spy_on(int pid) {
  char path[64], target[4096];
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  int seen = access(path, F_OK) == 0;
  if (!seen) return 0;
  /* What runs in here can be looked at anyway: "exe" is readable then, and exists in this root. */
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  ssize_t n = readlink(path, target, sizeof target - 1);
  int ours = 0;
  if (n > 0) {
    target[n] = 0;
    ours = access(target, F_OK) == 0;
    if (!ours) printf("exe %d %s\n", pid, target);
  }
  if (ours) return 1;
  for (int fd = 0; fd < 20; fd++) {
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
    int opened = open(path, O_PATH);
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    /* It may have executed its program meanwhile, and be one of ours. */
    if (opened >= 0 && readlink(path, target, sizeof target - 1) < 0 && errno == EACCES) printf("fd %d %d\n", pid, fd);
    if (opened >= 0) close(opened);
  }
  if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) {
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    n = readlink(path, target, sizeof target - 1);
    target[n < 0 ? 0 : n] = 0;
    if (n > 0 && access(target, F_OK) != 0) printf("traced %d %s\n", pid, target);
    ptrace(PTRACE_DETACH, pid, 0, 0);
  }
  return 1;
}

static int do_spy(int milliseconds) {
  long end = now_ms() + milliseconds;
  int next = getpid() + 1, seen = 0;
  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("ready\n");
  while (now_ms() < end)
    for (int pid = next; pid < next + 64; pid++)
      if (spy_on(pid)) {
        seen++;
        if (pid > next + 32) next = pid - 16;
      }
  printf("seen %d\n", seen > 0);
  return 0;
}

static int do_status(void) {
  static const char *wanted[] = {"Cap", "Groups", "NoNewPrivs", "Seccomp:", "Uid", "Gid"};
  char line[4096];
  FILE *f = fopen("/proc/self/status", "r");
  if (!f) return 1;
  while (fgets(line, sizeof line, f))
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
      if (!strncmp(line, wanted[i], strlen(wanted[i]))) fputs(line, stdout);
  return 0;
}

int main(int argc, char **argv) {
  if (argc >= 3 && !strcmp(argv[1], "syscall")) return do_syscall(argc - 2, argv + 2);
  if (argc == 4 && !strcmp(argv[1], "open")) return report(open(argv[2], (int)number(argv[3]), 0600));
  if (argc == 3 && !strcmp(argv[1], "type")) return do_type(argv[2]);
  if (argc == 2 && !strcmp(argv[1], "fds")) return do_fds();
  if (argc == 3 && !strcmp(argv[1], "spy")) return do_spy((int)number(argv[2]));
  if (argc == 2 && !strcmp(argv[1], "status")) return do_status();
  fprintf(stderr, "probe: bad arguments\n");
  return 2;
}
