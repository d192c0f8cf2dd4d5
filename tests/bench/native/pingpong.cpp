// A message of eight bytes there and back between two MPI processes on two processors, through shared memory. For
// ./margay bench native --part 2cpu.
// The bindings of C only.
#define OMPI_SKIP_MPICXX 1
#include <mpi.h>
#include <sched.h>

#include <cstdint>
#include <cstdio>

#include "rounds.hpp"

namespace {

constexpr int round_trips = 200;
constexpr int rounds = 500;

}  // namespace

int main(int argc, char** argv) {
    int rank = 0, size = 0;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (size != 2) {
        std::printf("pingpong: %d processes\n", size);
        return 1;
    }
    // Both wait without sleeping: on one processor they would have it by turns, until Linux looks at its balance.
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(rank, &own);
    if (sched_setaffinity(0, sizeof(own), &own) != 0) {
        std::printf("pingpong: there is no processor %d\n", rank);
        return 1;
    }
    std::uint64_t message = 0;
    const auto send = [&] { MPI_Send(&message, 1, MPI_UINT64_T, 1 - rank, 0, MPI_COMM_WORLD); };
    const auto receive = [&] {
        MPI_Recv(&message, 1, MPI_UINT64_T, 1 - rank, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    };
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) {
        time_rounds("pingpong", rounds, [&] {
            for (int i = 0; i < round_trips; ++i) {
                send();
                receive();
            }
        });
    } else {
        for (int i = 0; i < round_trips * (rounds + 1); ++i) {
            receive();
            ++message;
            send();
        }
    }
    MPI_Finalize();
    // Each round trip has added one.
    return message == round_trips * (rounds + 1) ? 0 : 1;
}
