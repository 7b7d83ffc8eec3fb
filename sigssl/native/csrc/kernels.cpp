// The kernels behind a plain C interface, compiled once for each instruction set: -DISA=avx512, avx2 or baseline.
#include "conv.h"
#include "features.h"
#include "place_norm.h"
#include "scan_backward.h"
#include "statistics.h"

#define JOIN2(a, b) a##_##b
#define JOIN(a, b) JOIN2(a, b)

extern "C" {
void JOIN(sigssl_scan_forward, ISA)(const void* args) { scan_forward((const ScanArgs*)args); }
void JOIN(sigssl_scan_backward, ISA)(const void* args) { scan_backward((const ScanArgs*)args); }
void JOIN(sigssl_conv_forward, ISA)(const void* args) { conv_forward((const ConvArgs*)args); }
void JOIN(sigssl_conv_backward, ISA)(const void* args) { conv_backward((const ConvArgs*)args); }
void JOIN(sigssl_frame_features, ISA)(const void* args) { frame_features((const FrameArgs*)args); }
void JOIN(sigssl_signal_energy, ISA)(const void* args) { signal_energy((const EnergyArgs*)args); }
void JOIN(sigssl_place_norm_forward, ISA)(const void* args) { place_norm_forward((const PlaceNormArgs*)args); }
void JOIN(sigssl_place_norm_backward, ISA)(const void* args) { place_norm_backward((const PlaceNormArgs*)args); }
void JOIN(sigssl_normalise, ISA)(const void* args) { normalise((const NormaliseArgs*)args); }
}
