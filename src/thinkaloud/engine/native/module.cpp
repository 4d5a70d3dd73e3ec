// The door to Python: arrays in, arrays filled.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>

#include "model.hpp"
#include "pool.hpp"

namespace nb = nanobind;
using namespace thinkaloud;

namespace {

template <class T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Table = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

Format format_of(const std::string& name) {
    if (name == "float32") return Format::float32;
    if (name == "bfloat16") return Format::bfloat16;
    if (name == "int8") return Format::int8;
    if (name == "int4") return Format::int4;
    throw std::invalid_argument("no such format: " + name);
}

void same_length(size_t expected, std::initializer_list<size_t> found) {
    for (size_t one : found)
        if (one != expected) throw std::invalid_argument("arrays of different lengths");
}

// The settings of each draw: those that stand in its row's line, of which every table has one.
std::vector<Settings> settings_of(Vector<const int32_t> rows, Table<const int32_t> tables, Vector<const uint64_t> keys,
                                  Table<const float> settings) {
    same_length(tables.shape(0), {keys.shape(0), settings.shape(0)});
    same_length(4, {settings.shape(1)});
    std::vector<Settings> chosen(rows.shape(0));
    for (size_t i = 0; i < chosen.size(); ++i) {
        const int row = rows.data()[i];
        if (row < 0 || size_t(row) >= keys.shape(0)) throw std::out_of_range("a row without settings");
        const float* of = settings.data() + size_t(row) * 4;  // temperature, top-p, min-p, top-k
        chosen[i] = Settings{keys.data()[row], of[0], of[1], of[2], int(of[3])};
    }
    return chosen;
}

// Bytes a second at which `threads` threads read `bytes` bytes on huge pages: what a batch of one is bound by.
double read_bandwidth(size_t bytes, int threads) {
    static volatile uint64_t sink;
    Memory memory(bytes);
    std::memset(memory.data(), 1, bytes);
    const size_t piece = size_t(1) << 20;
    const int pieces = int(bytes / piece);
    double best = 0;
    for (int round = 0; round < 5; ++round) {
        const auto start = std::chrono::steady_clock::now();
        parallel(threads, pieces, [&](int i) {
            const uint64_t* words = reinterpret_cast<const uint64_t*>(memory.data() + i * piece);
            uint64_t sums[8] = {};
            for (size_t w = 0; w < piece / 8; w += 8) {
                __builtin_prefetch(words + w + 256);
                for (int lane = 0; lane < 8; ++lane) sums[lane] += words[w + lane];
            }
            uint64_t total = 0;
            for (uint64_t sum : sums) total += sum;
            sink = total;
        });
        const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
        best = std::max(best, double(pieces) * piece / time.count());
    }
    return best;
}

}  // namespace

NB_MODULE(_native, m) {
    nb::set_leak_warnings(false);  // whoever is stopped midway still holds its model
    m.attr("BLOCK") = kBlock;
    m.def("path", [](const std::string& wanted) { return choose_kernels(wanted.c_str()).name; });
    m.def("uniform", &uniform);
    m.def("read_bandwidth", &read_bandwidth);
    nb::class_<Model>(m, "Model")
        .def(
            "__init__",
            [](Model* self, int vocabulary, int hidden, int layers, int heads, int key_value_heads, int head_width,
               int intermediate, float epsilon, bool tied, const std::string& weights, const std::string& ends,
               const std::string& cache, int blocks, const std::string& path) {
                if (head_width > 1024) throw std::invalid_argument("heads are at most 1024 wide");
                const Shape shape{vocabulary, hidden,       layers,  heads, key_value_heads,
                                  head_width, intermediate, epsilon, tied};
                new (self) Model(shape, format_of(weights), format_of(ends), format_of(cache), blocks, path);
            },
            nb::kw_only(), nb::arg("vocabulary"), nb::arg("hidden"), nb::arg("layers"), nb::arg("heads"),
            nb::arg("key_value_heads"), nb::arg("head_width"), nb::arg("intermediate"), nb::arg("epsilon"),
            nb::arg("tied"), nb::arg("weights"), nb::arg("ends"), nb::arg("cache"), nb::arg("blocks"), nb::arg("path"))
        .def("pack_floats",
             [](Model& self, const std::string& name, int layer, Table<const float> values, int threads) {
                 const Source source{values.data(), Format::float32, nullptr, int(values.shape(0)), int(values.shape(1))};
                 nb::gil_scoped_release release;
                 self.pack(name, layer, source, 0, threads);
             })
        .def("pack_halves",
             [](Model& self, const std::string& name, int layer, Table<const uint16_t> values, int threads) {
                 const Source source{values.data(), Format::bfloat16, nullptr, int(values.shape(0)),
                                     int(values.shape(1))};
                 nb::gil_scoped_release release;
                 self.pack(name, layer, source, 0, threads);
             })
        .def("pack_quantised",
             [](Model& self, const std::string& name, int layer, Table<const int8_t> values,
                Table<const uint16_t> scales, int first, int threads) {
                 same_length(values.shape(0), {scales.shape(0)});
                 same_length((values.shape(1) + kGroup - 1) / kGroup, {scales.shape(1)});
                 const Source source{values.data(), Format::int8, scales.data(), int(values.shape(0)),
                                     int(values.shape(1))};
                 nb::gil_scoped_release release;
                 self.pack(name, layer, source, first, threads);
             })
        .def("set",
             [](Model& self, const std::string& name, int layer, Vector<const float> values) {
                 self.set(name, layer, values.data(), int(values.shape(0)));
             })
        .def("set_rotary",
             [](Model& self, Table<const float> cosine, Table<const float> sine) {
                 same_length(cosine.size(), {sine.size()});
                 if (int(cosine.shape(1)) != self.shape().head_width)
                     throw std::invalid_argument("rotary tables of another width");
                 self.set_rotary(cosine.data(), sine.data(), int(cosine.shape(0)));
             })
        .def("copy_block", &Model::copy_block)
        .def_prop_ro("path", &Model::path)
        .def_prop_ro("weight_bytes", &Model::weight_bytes)
        .def_prop_ro("block_bytes", &Model::block_bytes)
        .def("step",
             [](Model& self, Vector<const int32_t> ids, Vector<const int32_t> positions, Vector<const int32_t> rows,
                Table<const int32_t> tables, Vector<const int32_t> draw_from, Vector<const int32_t> draw_rows,
                Vector<const int32_t> forced, Vector<const uint64_t> keys, Table<const float> settings, Vector<int32_t> drawn,
                Vector<float> logprobs, int threads, std::optional<Vector<const int32_t>> kept,
                std::optional<Table<float>> logits) {
                 const size_t n = ids.shape(0), draws = draw_from.shape(0);
                 same_length(n, {positions.shape(0), rows.shape(0)});
                 same_length(draws, {draw_rows.shape(0), forced.shape(0), drawn.shape(0), logprobs.shape(0)});
                 for (size_t i = 0; i < n; ++i)
                     if (rows.data()[i] < 0 || size_t(rows.data()[i]) >= tables.shape(0))
                         throw std::out_of_range("a row without a table");
                 const std::vector<Settings> chosen = settings_of(draw_rows, tables, keys, settings);
                 Step step{};
                 step.tokens = int(n);
                 step.ids = ids.data();
                 step.positions = positions.data();
                 step.rows = rows.data();
                 step.tables = tables.data();
                 step.table_width = int(tables.shape(1));
                 step.draws = int(draws);
                 step.draw_from = draw_from.data();
                 step.forced = forced.data();
                 step.drawn = drawn.data();
                 step.logprobs = logprobs.data();
                 step.settings = chosen.data();
                 if (kept && logits) {
                     same_length(draws, {kept->shape(0)});
                     same_length(size_t(self.shape().vocabulary), {logits->shape(1)});
                     for (size_t i = 0; i < draws; ++i)
                         if (kept->data()[i] >= 0 && size_t(kept->data()[i]) >= logits->shape(0))
                             throw std::out_of_range("logits without a line");
                     step.kept = kept->data();
                     step.logits = logits->data();
                 }
                 nb::gil_scoped_release release;
                 self.run(step, threads);
             },
             nb::arg("ids"), nb::arg("positions"), nb::arg("rows"), nb::arg("tables"), nb::arg("draw_from"),
             nb::arg("draw_rows"), nb::arg("forced"), nb::arg("keys"), nb::arg("settings"), nb::arg("drawn"),
             nb::arg("logprobs"), nb::arg("threads"), nb::arg("kept") = nb::none(), nb::arg("logits") = nb::none())
        .def(
            "burst",
            [](Model& self, Vector<const int32_t> slots, Vector<const int32_t> newest, Vector<const int32_t> positions,
               Table<const int32_t> tables, Vector<const uint64_t> keys, Table<const float> settings,
               Table<const int32_t> stops, Vector<const int32_t> most, Table<int32_t> drawn, Table<float> logprobs,
               Vector<int32_t> counts, int least, int threads) {
                const size_t n = slots.shape(0);
                same_length(n, {newest.shape(0), positions.shape(0), stops.shape(0), most.shape(0), drawn.shape(0),
                                logprobs.shape(0), counts.shape(0)});
                same_length(drawn.shape(1), {logprobs.shape(1)});
                for (size_t i = 0; i < n; ++i)
                    if (most.data()[i] < 1 || size_t(most.data()[i]) > drawn.shape(1))
                        throw std::out_of_range("a row that may draw none, or more than there is room for");
                const std::vector<Settings> chosen = settings_of(slots, tables, keys, settings);
                Burst burst{};
                burst.rows = int(n);
                burst.least = least;
                burst.slots = slots.data();
                burst.newest = newest.data();
                burst.positions = positions.data();
                burst.tables = tables.data();
                burst.table_width = int(tables.shape(1));
                burst.settings = chosen.data();
                burst.stops = stops.data();
                burst.stop_width = int(stops.shape(1));
                burst.most = most.data();
                burst.steps = int(drawn.shape(1));
                burst.drawn = drawn.data();
                burst.logprobs = logprobs.data();
                burst.counts = counts.data();
                nb::gil_scoped_release release;
                self.run(burst, threads);
            },
            nb::arg("slots"), nb::arg("newest"), nb::arg("positions"), nb::arg("tables"), nb::arg("keys"),
            nb::arg("settings"), nb::arg("stops"), nb::arg("most"), nb::arg("drawn"), nb::arg("logprobs"),
            nb::arg("counts"), nb::arg("least"), nb::arg("threads"));
}
