/* A stand-in for lwIP's header of this name, on POSIX sockets: so lwip.c compiles and runs without a board. */
#ifndef STAND_IN_SOCKETS_H
#define STAND_IN_SOCKETS_H

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static inline uint16_t lwip_htons(uint16_t port) { return htons(port); }
static inline uint32_t ipaddr_addr(const char *address) { return inet_addr(address); }
static inline int lwip_socket(int domain, int type, int protocol) { return socket(domain, type, protocol); }
static inline int lwip_close(int s) { return close(s); }
static inline int lwip_connect(int s, const struct sockaddr *name, socklen_t size) { return connect(s, name, size); }
static inline ssize_t lwip_recv(int s, void *memory, size_t size, int flags) { return recv(s, memory, size, flags); }
static inline int lwip_setsockopt(int s, int level, int option, const void *value, socklen_t size) {
    return setsockopt(s, level, option, value, size);
}
static inline ssize_t lwip_send(int s, const void *data, size_t size, int flags) {
    return send(s, data, size, flags | MSG_NOSIGNAL); /* lwIP has no signals */
}
static inline ssize_t lwip_sendto(int s, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length) {
    return sendto(s, data, size, flags, to, length);
}
static inline ssize_t lwip_recvfrom(int s, void *memory, size_t size, int flags, struct sockaddr *from, socklen_t *length) {
    return recvfrom(s, memory, size, flags, from, length);
}

#endif
