#include <algorithm>
#include <numeric>

#include "model.hpp"

namespace thinkaloud {

void Model::run(const Burst& burst, int threads) {
    std::vector<int> going(burst.rows);
    std::iota(going.begin(), going.end(), 0);
    std::fill(burst.counts, burst.counts + burst.rows, 0);
    std::vector<int32_t> ids, positions, rows, sources(burst.rows), forced(burst.rows, -1), drawn(burst.rows);
    std::iota(sources.begin(), sources.end(), 0);
    std::vector<float> logprobs(burst.rows);
    std::vector<Settings> settings;
    do {
        ids.clear(), positions.clear(), rows.clear(), settings.clear();
        for (const int row : going) {
            const int count = burst.counts[row];
            ids.push_back(count == 0 ? burst.newest[row] : burst.drawn[size_t(row) * burst.steps + count - 1]);
            positions.push_back(burst.positions[row] + count);
            rows.push_back(burst.slots[row]);
            settings.push_back(burst.settings[row]);
        }
        Step step{};
        step.tokens = step.draws = int(going.size());
        step.ids = ids.data();
        step.positions = positions.data();
        step.rows = rows.data();
        step.tables = burst.tables;
        step.table_width = burst.table_width;
        step.draw_from = sources.data();
        step.forced = forced.data();
        step.settings = settings.data();
        step.drawn = drawn.data();
        step.logprobs = logprobs.data();
        run(step, threads);
        size_t left = 0;
        for (int i = 0; i < step.tokens; ++i) {
            const int row = going[i];
            const size_t place = size_t(row) * burst.steps + burst.counts[row]++;
            burst.drawn[place] = drawn[i];
            burst.logprobs[place] = logprobs[i];
            const int32_t* stops = burst.stops + size_t(row) * burst.stop_width;
            const bool stopped = std::find(stops, stops + burst.stop_width, drawn[i]) != stops + burst.stop_width;
            if (!stopped && burst.counts[row] < burst.most[row]) going[left++] = row;
        }
        going.resize(left);
    } while (!going.empty() && int(going.size()) >= burst.least);
}

}  // namespace thinkaloud
