#include "sample.hpp"

#include <algorithm>
#include <cmath>

namespace thinkaloud {

namespace {

constexpr int kStretch = 1024;  // tokens whose weights are summed together

// exp((x - peak) * scale) of all tokens: their sums by stretches, and those of the last stretch one by one.
struct Weights {
    const Kernels& kernels;
    const float* logits;
    int count;
    float peak, scale;
    std::vector<double> sums;
    double total = 0;
    float last[kStretch];

    Weights(const Kernels& kernels, const float* logits, int count, float peak, float scale)
        : kernels(kernels), logits(logits), count(count), peak(peak), scale(scale) {
        for (int start = 0; start < count; start += kStretch) {
            sums.push_back(weigh(start));
            total += sums.back();
        }
    }

    double weigh(int start) {
        return kernels.exponentials(logits + start, std::min(kStretch, count - start), peak, scale, last);
    }

    // The first token at which the running sum of the weights passes `noise` times their total.
    int invert(double noise) {
        const int stretches = int(sums.size());
        const double threshold = noise * total;
        double before = 0;
        int stretch = 0;
        while (stretch + 1 < stretches && before + sums[stretch] <= threshold) before += sums[stretch++];
        const int start = stretch * kStretch, length = std::min(kStretch, count - start);
        if (stretch + 1 < stretches) weigh(start);
        int i = 0;
        for (double part[4]; i + 16 <= length; i += 16) {  // sixteen at a time, while all of them lie before it
            for (int lane = 0; lane < 4; ++lane)
                part[lane] = (double(last[i + lane]) + last[i + lane + 4]) +
                             (double(last[i + lane + 8]) + last[i + lane + 12]);
            const double after = before + ((part[0] + part[1]) + (part[2] + part[3]));
            if (after > threshold) break;
            before = after;
        }
        for (; i < length; ++i) {
            before += last[i];
            if (before > threshold) return start + i;
        }
        return start + int(std::max_element(last, last + length) - last);  // by the rounding of the sums
    }
};

// The tokens that top-k, then top-p, then min-p leave, in the order of their ids, with their weights.
struct Kept {
    int id;
    double weight;
};

std::vector<Kept> truncate(const float* logits, int count, const Settings& s, float peak, double scale) {
    std::vector<int> order(count);
    for (int i = 0; i < count; ++i) order[i] = i;
    const auto likelier = [&](int a, int b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
    const auto weight = [&](int id) { return std::exp((double(logits[id]) - peak) * scale); };
    const int most = s.top_k > 0 ? std::min(s.top_k, count) : count;
    double total = 0;
    if (most < count) {
        std::nth_element(order.begin(), order.begin() + most, order.end(), likelier);
        for (int i = 0; i < most; ++i) total += weight(order[i]);
    } else if (s.top_p < 1.0f) {
        for (int i = 0; i < count; ++i) total += weight(i);
    }
    std::vector<Kept> kept;
    if (s.top_p < 1.0f) {
        // Sort as much of the head as the nucleus needs.
        double before = 0;
        int sorted = 0;
        bool full = false;
        while (!full && sorted < most) {
            const int next = std::min(most, sorted == 0 ? 64 : sorted * 8);
            std::partial_sort(order.begin() + sorted, order.begin() + next, order.begin() + most, likelier);
            for (; sorted < next; ++sorted) {
                const double one = weight(order[sorted]);
                if (sorted > 0 && (before >= s.top_p * total || one < s.min_p)) {
                    full = true;
                    break;
                }
                kept.push_back({order[sorted], one});
                before += one;
            }
        }
    } else {
        for (int i = 0; i < most; ++i) {
            const double one = weight(order[i]);
            if (one >= s.min_p) kept.push_back({order[i], one});
        }
    }
    std::sort(kept.begin(), kept.end(), [](const Kept& a, const Kept& b) { return a.id < b.id; });
    return kept;
}

uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

}  // namespace

double uniform(uint64_t key, int64_t position) {
    return double(mix(key + uint64_t(position) * 0x9E3779B97F4A7C15u) >> 11) * 0x1p-53;
}

Draw draw(const Kernels& kernels, const float* logits, int count, const Settings& s, int64_t position, int forced) {
    const float peak = kernels.largest(logits, count);
    Weights raw(kernels, logits, count, peak, 1.0f);
    const double normaliser = std::log(raw.total) + peak;
    int id = forced;
    if (forced < 0 && s.temperature == 0) {
        id = int(std::find(logits, logits + count, peak) - logits);
    } else if (forced < 0) {
        const double noise = uniform(s.key, position);
        const double scale = 1.0 / double(std::max(s.temperature, 1e-6f));
        if (s.top_k <= 0 && s.top_p >= 1.0f && s.min_p <= 0.0f) {
            id = float(scale) == 1.0f ? raw.invert(noise)
                                      : Weights(kernels, logits, count, peak, float(scale)).invert(noise);
        } else {
            const std::vector<Kept> kept = truncate(logits, count, s, peak, scale);
            double total = 0, before = 0;
            for (const Kept& one : kept) total += one.weight;
            id = kept.empty() ? 0 : kept.back().id;
            for (const Kept& one : kept) {
                before += one.weight;
                if (before > noise * total) {
                    id = one.id;
                    break;
                }
            }
        }
    }
    if (id >= count) id = count - 1;  // no finite logits
    return {id, float(double(logits[id]) - normaliser)};
}

}  // namespace thinkaloud
