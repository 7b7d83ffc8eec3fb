#!/usr/bin/env bash
# Features of a data directory, normalised by its own mean and variance, and one pretraining run on them. Sourced by egs/*/run.sh.
# A recipe sets
#   data, exp, nj, method, size, conf, features; train: data directory in $data; name: of the run; dev: for validation, or nothing
stage "features-$name" --in "$data/$train" --in "$features" --out "$exp/feats_$name/feats.scp" -- \
    sigssl features --config "$features" "$data/$train" "$exp/feats_$name" --cmvn global --nj "$nj" --overwrite
stage "pretrain-$name" --in "$data/$train" --in "$exp/feats_$name/feats.json" --in "recipes/conf/$method/$size.yaml" --in "$conf" \
    --out "$exp/$name/encoder/model.safetensors" -- \
    sigssl pretrain --config "recipes/conf/$method/$size.yaml" --config "$conf" --out "$exp/$name" \
    "data.train=$data/$train" "data.feats=$exp/feats_$name" ${dev:+"data.valid=$data/$dev"} \
    "method.init_args.encoder.init_args.features.init_args.cmvn=$exp/feats_$name/cmvn.yaml"
