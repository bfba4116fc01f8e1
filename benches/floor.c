/* The floor: the system calls of one `run --rm` with the whole default profile, and nothing else.
 *
 * No engine, no store, no JSON: a C program that makes the cgroups, clones into all namespaces, mounts an overlay and
 * everything that SECURITY.md's default profile mounts and masks, makes the devices, pivots, loads a filter of 700
 * instructions, drops capabilities, executes `true`, waits and cleans up. minidock is measured beside it.
 *
 *   cc -O2 -static -o floor floor.c && ./floor LOWERDIR SCRATCHDIR [profile|bare|hold N]
 *
 * `bare` leaves out cgroups, masks, devices, filter and the smaller mounts: namespaces, overlay, pivot_root, exec.
 * `hold` makes N at once that execute `sleep`, says `ready`, and ends them all when its input does: what the kernel needs
 * for so many containers. All of them are its own children; it has no process, no log and no socket for each.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUST(x) do { if ((x) < 0) err(1, "%s", #x); } while (0)
#define COUNT(a) (int)(sizeof(a) / sizeof *(a))

static const char *const hierarchies[] = {"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"};
static const char *const hosts_files[] = {"hosts", "hostname", "resolv.conf"};
static char lower[4096], scratch[4096], group[64];
static int join[COUNT(hierarchies)], bare, hold;

static void put(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) err(1, "open %s", path);
  if (write(fd, text, strlen(text)) < 0) err(1, "write %s", path);
  close(fd);
}

static void make_cgroups(void) {
  static const char *const rules[] = {"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm",
                                      "c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm", "c 10:200 rwm"};
  for (int i = 0; i < COUNT(hierarchies); i++) {
    char path[512], file[600];
    snprintf(path, sizeof path, "/sys/fs/cgroup/%s/%s", hierarchies[i], group);
    join[i] = -1;
    if (mkdir(path, 0755) < 0) continue;
    if (!strcmp(hierarchies[i], "cpuset")) {
      snprintf(file, sizeof file, "%s/cpuset.cpus", path); put(file, "0-1");
      snprintf(file, sizeof file, "%s/cpuset.mems", path); put(file, "0");
    }
    if (!strcmp(hierarchies[i], "devices")) {
      snprintf(file, sizeof file, "%s/devices.deny", path); put(file, "a");
      snprintf(file, sizeof file, "%s/devices.allow", path);
      for (int r = 0; r < COUNT(rules); r++) put(file, rules[r]);
    }
    snprintf(file, sizeof file, "%s/tasks", path);
    join[i] = open(file, O_WRONLY | O_CLOEXEC);
  }
}

static void remove_cgroups(void) {
  for (int i = 0; i < COUNT(hierarchies); i++) {
    char path[512];
    snprintf(path, sizeof path, "/sys/fs/cgroup/%s/%s", hierarchies[i], group);
    rmdir(path);
  }
}

static void mask(const char *path) {
  struct stat st;
  if (lstat(path, &st) < 0) return;
  if (S_ISDIR(st.st_mode)) MUST(mount("tmpfs", path, "tmpfs", MS_RDONLY, "size=0k"));
  else MUST(mount("/dev/null", path, NULL, MS_BIND, NULL));
}

static void read_only(const char *path) {
  if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0) return;
  MUST(mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
}

static void load_filter(void) {
  static struct sock_filter code[704];
  int n = 0;
  code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  while (n < 700) { code[n] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x10000u + n, 0, 0); n++; }
  code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = {.len = n, .filter = code};
  MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

static void drop_capabilities(void) {
  const unsigned keep = 0xa80425fb;
  for (int c = 0; c <= 40; c++)
    if (c > 31 || !(keep >> c & 1)) prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {{keep, keep, 0}, {0, 0, 0}};
  MUST(syscall(SYS_capset, &head, data));
}

static void mount_profile(void) {
  char path[4200];
  MUST(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
  MUST(mkdir("dev/pts", 0755)); MUST(mkdir("dev/mqueue", 0755)); MUST(mkdir("dev/shm", 0755));
  MUST(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
  MUST(mount("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL));
  MUST(mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k"));
  MUST(mount("sysfs", "sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL));
  MUST(mount("tmpfs", "sys/fs/cgroup", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=755"));
  for (int i = 0; i < COUNT(hierarchies); i++) {
    if (join[i] < 0) continue;
    char from[512], to[512];
    snprintf(from, sizeof from, "/sys/fs/cgroup/%s/%s", hierarchies[i], group);
    snprintf(to, sizeof to, "sys/fs/cgroup/%s", hierarchies[i]);
    MUST(mkdir(to, 0755));
    MUST(mount(from, to, NULL, MS_BIND, NULL));
    MUST(mount(NULL, to, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL));
  }
  MUST(mount(NULL, "sys/fs/cgroup", NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=755"));
  for (int i = 0; i < COUNT(hosts_files); i++) {
    char to[64];
    snprintf(path, sizeof path, "%s/%s", scratch, hosts_files[i]);
    snprintf(to, sizeof to, "etc/%s", hosts_files[i]);
    MUST(close(open(to, O_CREAT | O_WRONLY, 0644)));
    MUST(mount(path, to, NULL, MS_BIND, NULL));
  }
  static const struct { const char *name; int major, minor; } nodes[] = {
      {"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
  for (int i = 0; i < COUNT(nodes); i++) {
    snprintf(path, sizeof path, "dev/%s", nodes[i].name);
    MUST(mknod(path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
    MUST(chmod(path, 0666));
  }
  MUST(symlink("pts/ptmx", "dev/ptmx")); MUST(symlink("/proc/self/fd", "dev/fd")); MUST(symlink("/proc/kcore", "dev/core"));
  MUST(symlink("/proc/self/fd/0", "dev/stdin")); MUST(symlink("/proc/self/fd/1", "dev/stdout"));
  MUST(symlink("/proc/self/fd/2", "dev/stderr"));
}

static void mask_profile(void) {
  static const char *const masked[] = {
      "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
      "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap",
      "/sys/devices/system/cpu/cpu0/thermal_throttle", "/sys/devices/system/cpu/cpu1/thermal_throttle"};
  static const char *const fixed[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
  for (int i = 0; i < COUNT(fixed); i++) read_only(fixed[i]);
  for (int i = 0; i < COUNT(masked); i++) mask(masked[i]);
}

static int child(void *unused) {
  (void)unused;
  static char text[3 * 4096], path[4200];
  for (int i = 0; !bare && i < COUNT(hierarchies); i++)
    if (join[i] >= 0) MUST(write(join[i], "0", 1));
  MUST(setsid());
  MUST(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL));
  (void)!snprintf(text, sizeof text, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work,volatile", lower, scratch, scratch);
  snprintf(path, sizeof path, "%s/merged", scratch);
  MUST(mount("overlay", path, "overlay", 0, text));
  MUST(chdir(path));
  MUST(mount("proc", "proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL));
  if (!bare) mount_profile();
  MUST(syscall(SYS_pivot_root, ".", "."));
  MUST(umount2(".", MNT_DETACH));
  MUST(chdir("/"));
  if (!bare) mask_profile();
  MUST(sethostname("floor", 5));
  int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  MUST(ioctl(s, SIOCSIFFLAGS, &up));
  close(s);
  if (!bare) {
    load_filter();
    drop_capabilities();
    MUST(prctl(PR_SET_PDEATHSIG, SIGKILL));
    MUST(syscall(SYS_close_range, 3, ~0u, 0));
  }
  char *argv[] = {"true", NULL}, *sleep[] = {"sleep", "100000", NULL}, *env[] = {"PATH=/bin", NULL};
  execve(hold ? "/bin/sleep" : "/bin/true", hold ? sleep : argv, env);
  err(127, "execve");
}

/* The upper layer of `true` holds a few empty files and directories, made by the mount targets. */
static void clear(const char *path) {
  DIR *d = opendir(path);
  for (struct dirent *e; d && (e = readdir(d));) {
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
    char inner[8192];
    snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
    if (unlink(inner) < 0) { clear(inner); rmdir(inner); }
  }
  if (d) closedir(d);
}

/* Makes the scratch directory and cgroups of one container, and its first process. */
static pid_t begin(const char *folder, int number) {
  snprintf(scratch, sizeof scratch, "%.3900s/%d-%d", folder, getpid(), number);
  snprintf(group, sizeof group, "floor-%d-%d", getpid(), number);
  MUST(mkdir(scratch, 0700));
  static char path[4200], stack[1 << 17] __attribute__((aligned(16)));
  static const char *const folders[] = {"upper", "work", "merged"};
  for (int i = 0; i < 3; i++) { snprintf(path, sizeof path, "%s/%s", scratch, folders[i]); MUST(mkdir(path, 0755)); }
  for (int i = 0; !bare && i < COUNT(hosts_files); i++) {
    snprintf(path, sizeof path, "%s/%s", scratch, hosts_files[i]);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    MUST(write(fd, "127.0.0.1 localhost\n", 20));
    close(fd);
  }
  if (!bare) make_cgroups();
  pid_t pid = clone(child, stack + sizeof stack, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | SIGCHLD, NULL);
  if (pid < 0) err(1, "clone");
  return pid;
}

static int end(const char *folder, int number, pid_t pid) {
  int status;
  MUST(waitpid(pid, &status, 0));
  snprintf(scratch, sizeof scratch, "%.3900s/%d-%d", folder, getpid(), number);
  snprintf(group, sizeof group, "floor-%d-%d", getpid(), number);
  if (!bare) remove_cgroups();
  clear(scratch);
  rmdir(scratch);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static int hold_many(const char *folder, int count) {
  pid_t *pids = calloc(count, sizeof *pids);
  int made = 0, executed[2], failed = 0;
  for (; made < count && !failed; made++) {
    char byte;
    siginfo_t gone = {0};
    MUST(pipe2(executed, O_CLOEXEC));
    pids[made] = begin(folder, made);
    close(executed[1]);
    MUST(read(executed[0], &byte, 1)); /* its end: closed by execve, or by death */
    MUST(waitid(P_PID, pids[made], &gone, WEXITED | WNOHANG | WNOWAIT));
    failed = gone.si_pid != 0;
    close(executed[0]);
    for (int i = 0; i < COUNT(hierarchies); i++) close(join[i]);
  }
  puts(failed ? "failed" : "ready");
  fflush(stdout);
  while (!failed && getchar() != EOF) continue;
  for (int i = 0; i < made; i++) kill(pids[i], SIGKILL);
  for (int i = 0; i < made; i++) end(folder, i, pids[i]);
  return failed;
}

int main(int argc, char **argv) {
  if (argc < 3) errx(2, "usage: floor LOWERDIR SCRATCHDIR [profile|bare|hold N]");
  bare = argc > 3 && !strcmp(argv[3], "bare");
  hold = argc > 4 && !strcmp(argv[3], "hold") ? atoi(argv[4]) : 0;
  if (!realpath(argv[1], lower)) err(1, "%s", argv[1]);
  if (hold) return hold_many(argv[2], hold);
  return end(argv[2], 0, begin(argv[2], 0));
}
