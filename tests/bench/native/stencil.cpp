// A stencil on two processors: each round is so many sweeps of Jacobi's method over a square grid, with a barrier after
// each and a sum over all threads at the end. For ./margay bench native --part 2cpu.
#include <omp.h>

#include <cstdio>
#include <utility>
#include <vector>

#include "rounds.hpp"

namespace {

constexpr int edge = 256;
constexpr int sweeps = 4;
constexpr int rounds = 300;

using Grid = std::vector<double>;

double sweep(Grid& from, Grid& to) {
    double sum = 0;
#pragma omp parallel
    {
        double *source = from.data(), *target = to.data();
        for (int n = 0; n < sweeps; ++n) {
#pragma omp for schedule(static)
            for (int y = 1; y < edge - 1; ++y) {
                const double* const row = source + y * edge;
                double* const out = target + y * edge;
                for (int x = 1; x < edge - 1; ++x)
                    out[x] = 0.25 * (row[x - 1] + row[x + 1] + row[x - edge] + row[x + edge]);
            }
            std::swap(source, target);
        }
#pragma omp for reduction(+ : sum)
        for (int i = 0; i < edge * edge; ++i) sum += source[i];
    }
    return sum;
}

}  // namespace

int main() {
    if (omp_get_num_procs() != 2 || omp_get_max_threads() != 2) {
        std::printf("stencil: %d processors, %d threads\n", omp_get_num_procs(),
                    omp_get_max_threads());
        return 1;
    }
    Grid a(edge * edge), b(edge * edge);
    for (int i = 0; i < edge; ++i) a[i] = b[i] = 1;
    double last = 0;
    time_rounds("openmp", rounds, [&] { last = sweep(a, b); });
    // Heat from one side spreads and none is lost within so few sweeps: there is something, and not too much.
    return last > edge && last < edge * edge ? 0 : 1;
}
