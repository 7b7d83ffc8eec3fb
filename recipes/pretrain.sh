#!/usr/bin/env bash
# One pretraining run on stored features. Sourced by egs/*/run.sh. A recipe sets
#   data, exp, method, size, conf; train: data directory in $data; name: of the run; dev: for validation, or nothing
stage "pretrain-$name" --in "$data/$train" --in "$exp/feats/feats.json" --in "recipes/conf/$method/$size.yaml" --in "$conf" \
    --out "$exp/$name/encoder/model.safetensors" -- \
    sigssl pretrain --config "recipes/conf/$method/$size.yaml" --config "$conf" --out "$exp/$name" \
    "data.train=$data/$train" "data.feats=$exp/feats" ${dev:+"data.valid=$data/$dev"}
