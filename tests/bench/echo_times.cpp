// Sends echo requests from a guest, one after the other: what each took until its answer was there.
//
// echo_times ADDRESS COUNT
#include "io_times.hpp"

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace margay::bench;

namespace {

constexpr unsigned bytes = 64;

// RFC 1071.
std::uint16_t sum_of(const unsigned char* data) {
    std::uint32_t sum = 0;
    for (unsigned i = 0; i < bytes; i += 2)
        sum += data[i] | static_cast<std::uint32_t>(data[i + 1]) << 8;
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
}

// Whether it has come; what else comes is passed over.
bool await(int from, std::uint16_t sequence) {
    unsigned char packet[1500];
    for (;;) {
        const ssize_t got = recv(from, packet, sizeof(packet), 0);
        if (got < 0) return false;
        const auto* ip = reinterpret_cast<const iphdr*>(packet);
        const auto* icmp = reinterpret_cast<const icmphdr*>(packet + ip->ihl * 4);
        if (icmp->type == ICMP_ECHOREPLY && icmp->un.echo.sequence == sequence) return true;
    }
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 3) return 2;
    const std::uint64_t requests = std::strtoull(arguments[2], nullptr, 10);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    const int line = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    if (line < 0 || inet_pton(AF_INET, arguments[1], &to.sin_addr) != 1)
        return std::perror(arguments[1]), 1;
    std::vector<std::uint64_t> took(requests);
    const std::uint64_t before = interrupts("virtio");
    for (std::uint64_t i = 0; i < requests; ++i) {
        alignas(icmphdr) unsigned char packet[bytes] = {};
        auto* request = reinterpret_cast<icmphdr*>(packet);
        request->type = ICMP_ECHO;
        request->un.echo.sequence = htons(static_cast<std::uint16_t>(i));
        request->checksum = sum_of(packet);
        const std::uint64_t begin = ticks();
        const bool sent = sendto(line, packet, bytes, 0, reinterpret_cast<const sockaddr*>(&to),
                                 sizeof(to)) == bytes;
        if (!sent || !await(line, request->un.echo.sequence)) return std::perror("echo"), 1;
        took[i] = ticks() - begin;
    }
    tell("echo", took, interrupts("virtio") - before);
    return 0;
}
