#!/usr/bin/env bash
# Nights -> stored signals -> NeuroNet without the test subjects -> sequence heads beside from scratch and single epochs -> report.
# Sourced by egs/*/run.sh after recipes/lib.sh. A recipe sets
#   data: folder of the data directories, with all nights in $data/all     parts: of the subjects, for sigssl split (train, dev, test)
#   ssl: the part to pretrain on
#   exp: folder for what is made                signal: words signal.KEY=VALUE over recipes/conf/features/eeg.yaml
#   size, conf: NeuroNet's YAML in recipes/conf/neuronet, and what differs   heads: YAML over recipes/conf/sleep/encoder.yaml
#   nj: worker processes
stage validate --in "$data/all" -- sigssl validate "$data/all"
# shellcheck disable=SC2086  # signal is a list of words
stage features --in "$data/all" --in recipes/conf/features/eeg.yaml --out "$exp/nights/feats.scp" -- \
    sigssl features --config recipes/conf/features/eeg.yaml "$data/all" "$exp/nights" --data-out "$data/stored" --nj "$nj" --overwrite $signal
stage split --in "$data/stored" --out "$data/split/split.json" -- sigssl split "$data/stored" "$data/split" --parts "$parts"
stage pretrain-neuronet --in "$exp/nights/feats.json" --in "$data/split/split.json" --in "recipes/conf/neuronet/$size.yaml" --in "$conf" \
    --out "$exp/neuronet/encoder/model.safetensors" -- \
    sigssl pretrain --config "recipes/conf/neuronet/$size.yaml" --config "$conf" --out "$exp/neuronet" \
    "data.train=$data/split/$ssl" "data.valid=$data/split/dev" "data.feats=$exp/nights" "data.valid_feats=$exp/nights"
stage heads --in "$exp/neuronet/encoder" --in "$data/split/split.json" --in recipes/conf/sleep/encoder.yaml --in "$heads" \
    --out "$exp/sleep/metrics.json" -- \
    sigssl finetune sleep --config recipes/conf/sleep/encoder.yaml --config "$heads" --data "$data/stored" --store "$exp/nights" \
    --model "$exp/neuronet" --split "$data/split/split.json" --out "$exp/sleep"
stage report --in "$exp/neuronet/metrics.json" --in "$exp/sleep/metrics.json" --out "$exp/report/REPORT.md" -- \
    sigssl report "$exp" --out "$exp/report"
