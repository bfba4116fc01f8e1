/* Stands in for Ryuk, whose source no package index has, and speaks its protocol: filters come as lines over TCP and
   are acknowledged; when the last client has gone for a while, what they match is removed over Docker's socket. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CLIENTS = 16, FILTERS = 16, ANSWER = 1 << 20 };

static char filters[FILTERS][512];
static int filter_count;

/* Sends a request and returns the whole answer. */
static char *ask(const char *method, const char *path) {
    static char answer[ANSWER];
    struct sockaddr_un where = {.sun_family = AF_UNIX, .sun_path = "/var/run/docker.sock"};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&where, sizeof where) != 0) {
        perror("docker.sock");
        exit(1);
    }
    dprintf(fd, "%s %s HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n", method, path);
    size_t used = 0;
    ssize_t got;
    while (used < ANSWER - 1 && (got = read(fd, answer + used, ANSWER - 1 - used)) > 0) used += (size_t)got;
    answer[used] = 0;
    close(fd);
    return answer;
}

/* Removes what one filter matches: of each match the value of ``key``. */
static void reap(const char *list, const char *key, const char *one, const char *query, const char *filter) {
    char path[2048], value[256], *at;
    snprintf(path, sizeof path, "%s%%7B%%22label%%22%%3A%%5B%%22%s%%22%%5D%%7D", list, filter);
    char *found = strdup(ask("GET", path));
    for (at = found; (at = strstr(at, key)) != NULL;) {
        at += strlen(key);
        size_t length = strcspn(at, "\"");
        snprintf(value, sizeof value, "%.*s", (int)length, at);
        snprintf(path, sizeof path, "%s%s%s", one, value, query);
        char *said = ask("DELETE", path);
        printf("removed %s%s: %.12s\n", one, value, said);
    }
    free(found);
}

/* A filter is ``label=KEY=VALUE``, perhaps among others that ``&`` joins. */
static void remember(char *line) {
    for (char *part = strtok(line, "&\r\n"); part; part = strtok(NULL, "&\r\n"))
        if (strncmp(part, "label=", 6) == 0 && filter_count < FILTERS)
            snprintf(filters[filter_count++], sizeof filters[0], "%s", part + 6);
}

int main(void) {
    const char *text = getenv("RYUK_RECONNECTION_TIMEOUT");
    int patience = text ? atoi(text) * 1000 : 10000, count = 1, seen = 0;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(8080)};
    struct pollfd fds[CLIENTS + 1] = {{.fd = socket(AF_INET, SOCK_STREAM, 0), .events = POLLIN}};
    setlinebuf(stdout);
    if (bind(fds[0].fd, (struct sockaddr *)&here, sizeof here) != 0 || listen(fds[0].fd, CLIENTS) != 0) return 1;
    printf("reaper Started!\n");
    while (poll(fds, (nfds_t)count, count > 1 ? -1 : seen ? patience : 60000) > 0) {
        for (int i = count - 1; i > 0; i--) {
            char line[1024];
            if (!fds[i].revents) continue;
            ssize_t got = read(fds[i].fd, line, sizeof line - 1);
            if (got > 0) {
                line[got] = 0;
                remember(line);
                dprintf(fds[i].fd, "ACK\n");
            } else {
                close(fds[i].fd);
                fds[i] = fds[--count];
            }
        }
        if (fds[0].revents && count <= CLIENTS) {
            fds[count++] = (struct pollfd){.fd = accept(fds[0].fd, NULL, NULL), .events = POLLIN};
            seen = 1;
        }
    }
    for (int i = 0; i < filter_count; i++) {
        reap("/containers/json?all=1&filters=", "\"Id\":\"", "/containers/", "?force=1&v=1", filters[i]);
        reap("/networks?filters=", "\"Id\":\"", "/networks/", "", filters[i]);
        reap("/volumes?filters=", "\"Name\":\"", "/volumes/", "?force=1", filters[i]);
        reap("/images/json?filters=", "\"Id\":\"", "/images/", "?force=1", filters[i]);
    }
    return 0;
}
