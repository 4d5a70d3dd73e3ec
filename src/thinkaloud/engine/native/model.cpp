#include "model.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "pool.hpp"

namespace thinkaloud {

struct Model::Stretch {
    int first, count, row;
};

namespace {

std::vector<Layer> make_layers(const Shape& s, Format f) {
    const int inner = s.heads * s.head_width, cached = s.key_value_heads * s.head_width;
    std::vector<Layer> layers;
    for (int i = 0; i < s.layers; ++i)
        layers.push_back(Layer{Matrix(f, inner + 2 * cached, s.hidden, false), Matrix(f, s.hidden, inner, false),
                               Matrix(f, 2 * s.intermediate, s.hidden, true), Matrix(f, s.hidden, s.intermediate, false),
                               {}, {}, {}, {}, {}});
    return layers;
}

size_t padded_row(int depth) { return (size_t(depth) + 63) / 64 * 64; }

constexpr double kWorthSharing = 1e5;  // multiplications below which waking another thread costs more than it gives

}  // namespace

Model::Model(const Shape& shape, Format weights, Format ends, Format cache, int blocks, const std::string& path)
    : shape_(shape),
      weights_(weights),
      cache_format_(cache),
      kernels_(choose_kernels(path.c_str())),
      blocks_(blocks),
      width_((shape.head_width + kLanes - 1) / kLanes * kLanes),
      tile_bytes_(thinkaloud::block_bytes(cache, width_)),
      embedding_(ends, shape.vocabulary, shape.hidden, false),
      layers_(make_layers(shape, weights)),
      cache_(tile_bytes_ * shape.key_value_heads * shape.layers * blocks) {
    if (ends != weights && !(ends == Format::int8 && weights == Format::int4))
        throw std::invalid_argument("formats that do not take the same inputs");
    if (!shape.tied) head_.emplace_back(ends, shape.vocabulary, shape.hidden, false);
}

void Model::pack(const std::string& name, int layer, const Source& source, int first, int threads) {
    const int inner = shape_.heads * shape_.head_width, cached = shape_.key_value_heads * shape_.head_width;
    struct Place {
        const char* name;
        Matrix* matrix;
        int first, rows;
    };
    Layer* l = layer >= 0 && layer < shape_.layers ? &layers_[layer] : nullptr;
    std::vector<Place> places = {{"embed", &embedding_, 0, shape_.vocabulary}};
    if (!head_.empty()) places.push_back({"head", &head_[0], 0, shape_.vocabulary});
    if (l != nullptr) {
        places.push_back({"q", &l->attention_in, 0, inner});
        places.push_back({"k", &l->attention_in, inner, cached});
        places.push_back({"v", &l->attention_in, inner + cached, cached});
        places.push_back({"o", &l->attention_out, 0, shape_.hidden});
        places.push_back({"gate", &l->feed_in, 0, shape_.intermediate});
        places.push_back({"up", &l->feed_in, shape_.intermediate, shape_.intermediate});
        places.push_back({"down", &l->feed_out, 0, shape_.hidden});
    }
    for (const Place& place : places)
        if (name == place.name) {
            const Format format = place.matrix->format();
            const bool bytes = format == Format::int8 || format == Format::int4;
            if (first < 0 || first + source.rows > place.rows || source.columns != place.matrix->columns() ||
                bytes != (source.format == Format::int8))
                throw std::invalid_argument("a weight of the wrong shape or type: " + name);
            place.matrix->pack(source, place.first + first, threads);
            return;
        }
    throw std::invalid_argument("no such matrix: " + name);
}

void Model::set(const std::string& name, int layer, const float* values, int count) {
    const int inner = shape_.heads * shape_.head_width, cached = shape_.key_value_heads * shape_.head_width;
    std::vector<float>* target = nullptr;
    int start = 0, expected = shape_.hidden;
    if (name == "norm") {
        target = &norm_;
    } else {
        Layer& l = layers_.at(layer);
        if (name == "input_norm") target = &l.input_norm;
        if (name == "middle_norm") target = &l.middle_norm;
        if (name == "q_norm") target = &l.query_norm, expected = shape_.head_width;
        if (name == "k_norm") target = &l.key_norm, expected = shape_.head_width;
        if (name == "q_bias") target = &l.bias, expected = inner;
        if (name == "k_bias") target = &l.bias, expected = cached, start = inner;
        if (name == "v_bias") target = &l.bias, expected = cached, start = inner + cached;
        if (target == &l.bias) target->resize(inner + 2 * cached);
    }
    if (target == nullptr || count != expected) throw std::invalid_argument("no such vector, or its length: " + name);
    if (int(target->size()) < start + count) target->resize(start + count);
    std::copy(values, values + count, target->begin() + start);
}

void Model::set_rotary(const float* cosine, const float* sine, int positions) {
    const size_t count = size_t(positions) * shape_.head_width;
    cosine_.assign(cosine, cosine + count);
    sine_.assign(sine, sine + count);
}

size_t Model::weight_bytes() const {
    size_t bytes = embedding_.bytes();
    for (const Matrix& head : head_) bytes += head.bytes();
    for (const Layer& l : layers_)
        bytes += l.attention_in.bytes() + l.attention_out.bytes() + l.feed_in.bytes() + l.feed_out.bytes();
    return bytes;
}

uint8_t* Model::tile(int layer, int block, int head) const {
    return cache_.data() + ((size_t(layer) * blocks_ + block) * shape_.key_value_heads + head) * tile_bytes_;
}

void Model::copy_block(int from, int to) {
    if (from < 0 || to < 0 || from >= blocks_ || to >= blocks_) throw std::out_of_range("no such block");
    for (int layer = 0; layer < shape_.layers; ++layer)
        std::memcpy(tile(layer, to, 0), tile(layer, from, 0), tile_bytes_ * shape_.key_value_heads);
}

Activations Model::activations(Memory& memory, int rows, int depth) const {
    Activations a{};
    a.format = weights_ == Format::int4 ? Format::int8 : weights_;
    const size_t item = a.format == Format::float32 ? 4 : a.format == Format::bfloat16 ? 2 : 1;
    a.stride = padded_row(int((depth + kGroup) * item));
    a.groups = (depth + kGroup - 1) / kGroup;
    const size_t values = a.stride * rows, numbers = size_t(a.groups) * rows * 4;
    memory.reserve(values + 2 * numbers + 256);
    a.data = memory.data();
    a.scales = reinterpret_cast<float*>(memory.data() + values);
    a.sums = reinterpret_cast<int32_t*>(memory.data() + values + (numbers + 63) / 64 * 64);
    return a;
}

void Model::product(const Matrix& matrix, const Activations& x, int rows, Epilogue epilogue, float* out,
                    const float* bias, const Activations* gated, int threads) const {
    Product p{};
    p.format = matrix.format();
    p.panels = matrix.data();
    p.panel_bytes = matrix.panel_bytes();
    p.depth = matrix.depth();
    p.outputs = matrix.rows();
    p.bias = bias;
    p.x = x;
    p.epilogue = epilogue;
    p.out = out;
    p.stride = matrix.rows();
    if (gated != nullptr) p.gated = *gated;
    p.gated_width = matrix.rows() / 2;
    // A task is a few panels of a batch of rows: small enough to share, large enough to be worth a counter.
    const int stretch = 96, stretches = (rows + stretch - 1) / stretch;
    const bool small = double(matrix.depth()) * matrix.rows() * rows < kWorthSharing;
    const int wanted = 8 * threads, each = std::max(1, matrix.panels() * stretches / std::max(1, wanted));
    const int groups = (matrix.panels() + each - 1) / each;
    parallel(small ? 1 : threads, groups * stretches, [&](int task) {
        const int group = task / stretches, first = task % stretches * stretch;
        for (int panel = group * each; panel < std::min(matrix.panels(), (group + 1) * each); ++panel)
            kernels_.multiply(p, panel, first, std::min(rows, first + stretch));
    });
}

namespace {

// `rows` rows in stretches of a few.
template <class Task>
void by_rows(int threads, int rows, double cost, const Task& task) {
    const int each = 8, stretches = (rows + each - 1) / each;
    parallel(rows * cost < kWorthSharing / 8 ? 1 : threads, stretches, [&](int stretch) {
        for (int row = stretch * each; row < std::min(rows, (stretch + 1) * each); ++row) task(row);
    });
}

}  // namespace

void Model::normed(const float* x, int rows, const std::vector<float>& weight, const Activations& out,
                   int threads) const {
    const int width = shape_.hidden;
    by_rows(threads, rows, width, [&](int row) {
        thread_local std::vector<float> normal;
        normal.resize(width + kLanes);
        kernels_.norm(x + size_t(row) * width, weight.data(), width, shape_.epsilon, normal.data());
        kernels_.convert(normal.data(), width, (width + kGroup - 1) / kGroup * kGroup, out, row);
    });
}

void Model::place_heads(const Layer& layer, int index, const Step& step, int threads) {
    const int e = shape_.head_width, h = shape_.heads, k = shape_.key_value_heads, whole = (h + 2 * k) * e;
    const float scale = 1.0f / std::sqrt(float(e));
    const size_t item = cache_format_ == Format::float32 ? 4 : 2;
    by_rows(threads, step.tokens, whole, [&](int token) {
        float* row = heads_.floats() + size_t(token) * whole;
        const int position = step.positions[token];
        const float *cosine = cosine_.data() + size_t(position) * e, *sine = sine_.data() + size_t(position) * e;
        for (int head = 0; head < h + k; ++head) {
            float* x = row + head * e;
            const std::vector<float>& norm = head < h ? layer.query_norm : layer.key_norm;
            if (!norm.empty()) {
                float normal[1024];
                kernels_.norm(x, norm.data(), e, shape_.epsilon, normal);
                std::memcpy(x, normal, size_t(e) * 4);
            }
            kernels_.rotate(x, cosine, sine, e, head < h ? scale : 1.0f);
        }
        for (int head = 0; head < h; ++head) {
            uint8_t* query = queries_.data() + (size_t(token) * h + head) * width_ * item;
            std::memset(query, 0, width_ * item);
            if (item == 4)
                std::memcpy(query, row + head * e, size_t(e) * 4);
            else
                for (int i = 0; i < e; ++i) reinterpret_cast<uint16_t*>(query)[i] = to_bfloat16(row[head * e + i]);
        }
    });
    // Tokens of one block must be written in order: each row of the batch by one thread.
    const int32_t* table = step.tables;
    for (int token = 0; token < step.tokens; ++token) {
        const int position = step.positions[token];
        const int block = table[size_t(step.rows[token]) * step.table_width + position / kBlock];
        const float* row = heads_.floats() + size_t(token) * whole + h * e;
        for (int head = 0; head < k; ++head)
            kernels_.remember(row + head * e, row + (k + head) * e, e, width_, cache_format_, tile(index, block, head),
                              position % kBlock);
    }
}

void Model::attention(int index, const Step& step, const std::vector<Stretch>& stretches, int threads) {
    const int e = shape_.head_width, h = shape_.heads, k = shape_.key_value_heads, group = h / k;
    const size_t item = cache_format_ == Format::float32 ? 4 : 2;
    struct Task {
        int first, queries, head, row;
    };
    std::vector<Task> tasks;
    double cost = 0;
    for (const Stretch& s : stretches)
        for (int head = 0; head < k; ++head) {
            const int all = s.count * group, parts = (all + kQueries - 1) / kQueries;
            for (int part = 0; part < parts; ++part) {
                const int from = int(int64_t(all) * part / parts), to = int(int64_t(all) * (part + 1) / parts);
                tasks.push_back({s.first * group + from, to - from, head, s.row});
                cost += double(to - from) * (step.positions[s.first] + 16) * e * 2;
            }
        }
    const int each = std::max(1, std::min(16, int(tasks.size()) / (8 * threads)));
    const int batches = (int(tasks.size()) + each - 1) / each;
    parallel(cost < kWorthSharing ? 1 : threads, batches, [&](int batch) {
        thread_local Memory scores;
        for (int t = batch * each; t < std::min(int(tasks.size()), (batch + 1) * each); ++t) {
            const Task& task = tasks[t];
            Attention a{};
            a.format = cache_format_;
            a.width = width_;
            a.real_width = e;
            a.queries = task.queries;
            int longest = 0;
            for (int q = 0; q < task.queries; ++q) {
                const int token = (task.first + q) / group, head = task.head * group + (task.first + q) % group;
                a.query[q] = queries_.data() + (size_t(token) * h + head) * width_ * item;
                a.out[q] = mixed_.floats() + (size_t(token) * h + head) * e;
                a.seen[q] = step.positions[token] + 1;
                longest = std::max(longest, a.seen[q]);
            }
            scores.reserve(size_t(task.queries) * ((longest + kBlock - 1) / kBlock * kBlock) * 4 + 64);
            a.cache = tile(index, 0, task.head);
            a.block_bytes = tile_bytes_ * k;
            a.table = step.tables + size_t(task.row) * step.table_width;
            a.scores = scores.floats();
            kernels_.attend(a);
        }
    });
}

void Model::run(const Step& step, int threads) {
    const int n = step.tokens, d = shape_.hidden, inner = shape_.heads * shape_.head_width;
    const int whole = inner + 2 * shape_.key_value_heads * shape_.head_width;
    std::vector<Stretch> stretches;
    for (int i = 0; i < n; ++i) {
        const int position = step.positions[i], row = step.rows[i];
        if (step.ids[i] < 0 || step.ids[i] >= shape_.vocabulary || position < 0 ||
            size_t(position) * shape_.head_width >= cosine_.size() || position / kBlock >= step.table_width)
            throw std::out_of_range("a token or a position outside the model");
        const int block = step.tables[size_t(row) * step.table_width + position / kBlock];
        if (block < 0 || block >= blocks_) throw std::out_of_range("a block outside the cache");
        if (!stretches.empty() && stretches.back().row == row)
            ++stretches.back().count;
        else
            stretches.push_back({i, 1, row});
    }
    const size_t item = cache_format_ == Format::float32 ? 4 : 2;
    stream_.reserve(size_t(n) * d * 4 + 64);
    heads_.reserve(size_t(n) * whole * 4 + 64);
    queries_.reserve(size_t(n) * shape_.heads * width_ * item + 64);
    mixed_.reserve(size_t(n) * inner * 4 + 64);
    const Activations inputs = activations(inputs_, n, std::max(d, inner));
    const Activations gated = activations(gated_, n, shape_.intermediate);
    float* x = stream_.floats();
    by_rows(threads, n, d, [&](int i) { embedding_.unpack(step.ids[i], x + size_t(i) * d); });
    for (int index = 0; index < shape_.layers; ++index) {
        const Layer& layer = layers_[index];
        normed(x, n, layer.input_norm, inputs, threads);
        product(layer.attention_in, inputs, n, Epilogue::store, heads_.floats(),
                layer.bias.empty() ? nullptr : layer.bias.data(), nullptr, threads);
        place_heads(layer, index, step, threads);
        attention(index, step, stretches, threads);
        by_rows(threads, n, inner, [&](int i) {
            kernels_.convert(mixed_.floats() + size_t(i) * inner, inner, (inner + kGroup - 1) / kGroup * kGroup, inputs, i);
        });
        product(layer.attention_out, inputs, n, Epilogue::add, x, nullptr, nullptr, threads);
        normed(x, n, layer.middle_norm, inputs, threads);
        product(layer.feed_in, inputs, n, Epilogue::gated, nullptr, nullptr, &gated, threads);
        product(layer.feed_out, gated, n, Epilogue::add, x, nullptr, nullptr, threads);
    }
    choose(step, threads);
}

void Model::choose(const Step& step, int threads) {
    if (step.draws == 0) return;
    const int d = shape_.hidden, v = shape_.vocabulary;
    std::vector<int> line(step.draws);  // several draws may stand behind one token: its logits are computed once
    int lines = 0;
    for (int i = 0; i < step.draws; ++i) {
        const int token = step.draw_from[i];
        if (token < 0 || token >= step.tokens) throw std::out_of_range("a draw behind no token");
        if (i == 0 || token != step.draw_from[i - 1]) ++lines;
        line[i] = lines - 1;
    }
    // A vocabulary times many tokens is much memory: so many lines at a time.
    const int most = std::max(1, std::min(lines, int((size_t(64) << 20) / (size_t(v) * 4))));
    last_.reserve(size_t(most) * d * 4 + 64);
    logits_.reserve(size_t(most) * v * 4 + 64);
    const Activations inputs = activations(inputs_, std::max(most, step.tokens), d);
    for (int first = 0, draw_first = 0; first < lines; first += most) {
        const int count = std::min(most, lines - first);
        int draw_last = draw_first;
        for (; draw_last < step.draws && line[draw_last] < first + count; ++draw_last)
            std::memcpy(last_.floats() + size_t(line[draw_last] - first) * d,
                        stream_.floats() + size_t(step.draw_from[draw_last]) * d, size_t(d) * 4);
        normed(last_.floats(), count, norm_, inputs, threads);
        product(head_.empty() ? embedding_ : head_[0], inputs, count, Epilogue::store, logits_.floats(), nullptr,
                nullptr, threads);
        parallel(double(draw_last - draw_first) * v < kWorthSharing / 8 ? 1 : threads, draw_last - draw_first, [&](int i) {
            const int one = draw_first + i;
            const Draw drawn = draw(kernels_, logits_.floats() + size_t(line[one] - first) * v, v, step.settings[one],
                                    step.positions[step.draw_from[one]] + 1, step.forced[one]);
            step.drawn[one] = drawn.id;
            step.logprobs[one] = drawn.logprob;
            if (step.kept && step.kept[one] >= 0)
                std::memcpy(step.logits + size_t(step.kept[one]) * v, logits_.floats() + size_t(line[one] - first) * v,
                            size_t(v) * 4);
        });
        draw_first = draw_last;
    }
}

}  // namespace thinkaloud
