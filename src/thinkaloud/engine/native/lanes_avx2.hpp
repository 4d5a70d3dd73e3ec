// Sixteen lanes in two AVX2 registers.
#pragma once
#include <immintrin.h>

#include "kernels.hpp"

using namespace thinkaloud;

namespace {

constexpr const char* kName = "avx2";
constexpr int kTileRows = 4, kTileVectors = 1, kByteVectors = 1, kRegisters = 5;
constexpr bool kSignedBytes = true;  // dot4_wide shifts int8 weights back to signed: unsigned ones would saturate

// Assigned part by part: gcc keeps what is copied whole in memory, and a sum in memory costs six times as much.
struct Floats {
    __m256 a, b;
    inline Floats& operator=(const Floats& other) {
        a = other.a, b = other.b;
        return *this;
    }
};
struct Words {
    __m256i a, b;
    inline Words& operator=(const Words& other) {
        a = other.a, b = other.b;
        return *this;
    }
};

inline Floats load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, Floats v) { _mm256_storeu_ps(p, v.a), _mm256_storeu_ps(p + 8, v.b); }
inline Floats all(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Floats fma(Floats a, Floats b, Floats c) {
    return {_mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b)};
}
inline Floats add(Floats a, Floats b) { return {_mm256_add_ps(a.a, b.a), _mm256_add_ps(a.b, b.b)}; }
inline Floats mul(Floats a, Floats b) { return {_mm256_mul_ps(a.a, b.a), _mm256_mul_ps(a.b, b.b)}; }
inline Floats div(Floats a, Floats b) { return {_mm256_div_ps(a.a, b.a), _mm256_div_ps(a.b, b.b)}; }
inline Floats max(Floats a, Floats b) { return {_mm256_max_ps(a.a, b.a), _mm256_max_ps(a.b, b.b)}; }
inline Floats round_to_int(Floats a) { return {_mm256_round_ps(a.a, 8), _mm256_round_ps(a.b, 8)}; }
inline __m256 power_of_two(__m256 n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
inline Floats power_of_two(Floats n) { return {power_of_two(n.a), power_of_two(n.b)}; }
inline __m256 from_half_8(const uint16_t* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16));
}
inline Floats from_half(const uint16_t* p) { return {from_half_8(p), from_half_8(p + 8)}; }

inline __m256i halves(__m256 v) {
    const __m256i bits = _mm256_castps_si256(v), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
}
inline void store_halves(uint16_t* p, Floats v) {
    const __m256i both = _mm256_packus_epi32(halves(v.a), halves(v.b));
    _mm256_storeu_si256((__m256i*)p, _mm256_permute4x64_epi64(both, 0xd8));
}
inline int32_t store_bytes(int8_t* p, Floats v) {
    int32_t whole[16], sum = 0;
    _mm256_storeu_si256((__m256i*)whole, _mm256_cvtps_epi32(v.a));
    _mm256_storeu_si256((__m256i*)whole + 1, _mm256_cvtps_epi32(v.b));
    for (int i = 0; i < 16; ++i) sum += whole[i], p[i] = int8_t(whole[i]);
    return sum;
}
inline float largest_of(Floats v) {
    float x[8];
    _mm256_storeu_ps(x, _mm256_max_ps(v.a, v.b));
    for (int i = 1; i < 8; ++i) x[0] = x[i] > x[0] ? x[i] : x[0];
    return x[0];
}

inline Words load_words(const void* p) {
    return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)p + 1)};
}
inline __m256i words_of_bytes_8(const void* p) {
    const __m256i pairs = _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i*)p));
    const __m256i even = _mm256_srai_epi32(_mm256_slli_epi32(pairs, 24), 24), odd = _mm256_srai_epi32(pairs, 8);
    const __m256i upper = _mm256_castps_si256(_mm256_cvtepi32_ps(odd));
    return _mm256_or_si256(_mm256_srli_epi32(_mm256_castps_si256(_mm256_cvtepi32_ps(even)), 16), upper);
}
inline Words words_of_bytes(const void* p) {  // 32 signed bytes as bfloat16, exactly
    return {words_of_bytes_8(p), words_of_bytes_8((const uint8_t*)p + 16)};
}
inline Words all_words(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline Words low_halves(Words v) {
    const __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(v.a, mask), _mm256_and_si256(v.b, mask)};
}
inline Words high_halves(Words v) { return low_halves({_mm256_srli_epi16(v.a, 4), _mm256_srli_epi16(v.b, 4)}); }
inline Floats as_floats(Words v) { return {_mm256_castsi256_ps(v.a), _mm256_castsi256_ps(v.b)}; }
inline Floats to_floats(Words v) { return {_mm256_cvtepi32_ps(v.a), _mm256_cvtepi32_ps(v.b)}; }

inline __m256 dot2(__m256 sum, __m256i w, __m256i x) {
    const __m256i upper = _mm256_set1_epi32(int(0xffff0000));
    auto first = [](__m256i v) { return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16)); };
    auto second = [upper](__m256i v) { return _mm256_castsi256_ps(_mm256_and_si256(v, upper)); };
    return _mm256_fmadd_ps(second(w), second(x), _mm256_fmadd_ps(first(w), first(x), sum));
}
inline Floats dot2(Floats sum, Words w, Words x) { return {dot2(sum.a, w.a, x.a), dot2(sum.b, w.b, x.b)}; }

inline __m256i dot4(__m256i sum, __m256i w, __m256i x) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
}
inline Words dot4(Words sum, Words w, Words x) { return {dot4(sum.a, w.a, x.a), dot4(sum.b, w.b, x.b)}; }
inline __m256i dot4_wide(__m256i sum, __m256i w, __m256i x) {
    const __m256i centred = _mm256_xor_si256(w, _mm256_set1_epi8(char(0x80)));
    return dot4(sum, _mm256_abs_epi8(centred), _mm256_sign_epi8(x, centred));
}
inline Words dot4_wide(Words sum, Words w, Words x) {
    return {dot4_wide(sum.a, w.a, x.a), dot4_wide(sum.b, w.b, x.b)};
}

}  // namespace
