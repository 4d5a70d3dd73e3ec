// The decoder: packed weights, a paged cache of keys and values, and one step over both.
#pragma once
#include <string>
#include <vector>

#include "kernels.hpp"
#include "matrix.hpp"
#include "sample.hpp"

namespace thinkaloud {

struct Shape {
    int vocabulary, hidden, layers, heads, key_value_heads, head_width, intermediate;
    float epsilon;
    bool tied;       // the head is the embedding
    bool head_norms; // queries and keys are normed head by head (Qwen3)
};

struct Layer {
    Matrix attention_in, attention_out, feed_in, feed_out;  // q, k, v below each other; gate and up
    std::vector<float> bias, input_norm, middle_norm, query_norm, key_norm;
};

// One call's work. Tokens of one row stand together, in order; `rows` names the row of each in `tables`.
struct Step {
    int tokens;
    const int32_t *ids, *positions, *rows;
    const int32_t* tables;  // [rows][table_width]: the blocks of each row
    int table_width;
    int draws;
    const int32_t* draw_from;    // the token behind which each draw stands, ascending
    const int32_t* forced;       // an id to take, or -1
    const Settings* settings;    // [draws]
    int32_t* drawn;
    float* logprobs;
    const int32_t* kept;         // the line of `logits` that each draw's logits go to, or -1; null: none are kept
    float* logits;               // [lines][vocabulary]
};

// Several tokens of rows that nobody has to look at in between: a row goes on until it draws one of its stops, or its
// most. It ends once fewer than `least` rows go on, or none.
struct Burst {
    int rows, least;
    const int32_t *slots, *newest, *positions;  // [rows]: the line of `tables`, the last token and where it stands
    const int32_t* tables;
    int table_width;
    const Settings* settings;    // [rows]
    const int32_t* stops;        // [rows][stop_width], -1 where there are fewer
    int stop_width;
    const int32_t* most;         // [rows], each from 1 to `steps`
    int steps;
    int32_t* drawn;              // [rows][steps]
    float* logprobs;
    int32_t* counts;             // [rows]: how many a row has drawn
};

class Model {
  public:
    // `ends`: the format of the embedding and the head, the others' or int8 beside int4.
    Model(const Shape& shape, Format weights, Format ends, Format cache, int blocks, const std::string& path);

    // Put one tensor in its place: "embed", "head", "q", "k", "v", "o", "gate", "up", "down".
    // Its rows stand behind the first `first` ones of the place.
    void pack(const std::string& name, int layer, const Source& source, int first, int threads);
    // "input_norm", "middle_norm", "norm", "q_norm", "k_norm", "q_bias", "k_bias", "v_bias".
    void set(const std::string& name, int layer, const float* values, int count);
    void set_rotary(const float* cosine, const float* sine, int positions);

    void run(const Step& step, int threads);
    void run(const Burst& burst, int threads);
    void copy_block(int from, int to);

    const char* path() const { return kernels_.name; }
    size_t weight_bytes() const;
    size_t block_bytes() const { return tile_bytes_ * shape_.key_value_heads * shape_.layers; }
    const Shape& shape() const { return shape_; }

  private:
    struct Stretch;  // tokens of one row that follow each other

    Activations activations(Memory& memory, int rows, int depth) const;
    void product(const Matrix& matrix, const Activations& x, int rows, Epilogue epilogue, float* out,
                 const float* bias, const Activations* gated, int threads) const;
    void normed(const float* x, int rows, const std::vector<float>& weight, const Activations& out, int threads) const;
    void place_heads(const Layer& layer, int index, const Step& step, int threads);
    void attention(int index, const Step& step, const std::vector<Stretch>& stretches, int threads);
    void choose(const Step& step, int threads);
    uint8_t* tile(int layer, int block, int head) const;

    Shape shape_;
    Format weights_, cache_format_;
    const Kernels& kernels_;
    int blocks_, width_;  // width: of a head, padded
    size_t tile_bytes_;
    Matrix embedding_;
    std::vector<Matrix> head_;  // empty where tied
    std::vector<Layer> layers_;
    std::vector<float> norm_, cosine_, sine_;
    Memory cache_;
    // Scratch, grown as needed: the residual stream, queries keys and values, heads' outputs, matrix inputs, logits.
    Memory stream_, heads_, queries_, mixed_, inputs_, gated_, logits_, last_;
};

}  // namespace thinkaloud
