#!/usr/bin/env bash
# Scored nights -> a stager -> new nights staged: NeuroNet pretrained on all of $data/all, one head kept, recordings in $new staged and,
# where $reference holds their hypnograms, compared. Sourced by egs/*/run.sh. A recipe sets data, exp, signal, size, conf, nj as for sleep.sh
#   head: kind of recipes/conf/sleep/encoder.yaml     passes: of the head's training     updates: of the pretraining     new, reference: folders
# shellcheck disable=SC2086  # signal is a list of words
stage features-nights --in "$data/all" --in recipes/conf/features/eeg.yaml --out "$exp/nights/feats.scp" -- \
    sigssl features --config recipes/conf/features/eeg.yaml "$data/all" "$exp/nights" --data-out "$data/stored" --nj "$nj" --overwrite $signal
stage pretrain-neuronet --in "$exp/nights/feats.json" --in "recipes/conf/neuronet/$size.yaml" --in "$conf" \
    --out "$exp/neuronet/encoder/model.safetensors" -- \
    sigssl pretrain --config "recipes/conf/neuronet/$size.yaml" --config "$conf" --out "$exp/neuronet" \
    "data.train=$data/stored" "data.feats=$exp/nights" "trainer.updates=$updates"
stage "head-$head" --in "$exp/neuronet/encoder" --in recipes/conf/sleep/encoder.yaml --out "$exp/sleep/stager" -- \
    sigssl finetune sleep --config recipes/conf/sleep/encoder.yaml --data "$data/stored" --store "$exp/nights" \
    --model "$exp/neuronet" --out "$exp/sleep" --compare false --final "$head" --passes "$passes"
stage stage-nights --in "$exp/sleep/stager" --in "$new" --out "$exp/staged/index.html" -- \
    sigssl stage "$new" --model "$exp/sleep/stager" --out "$exp/staged" ${reference:+--reference "$reference"} --nj "$nj"
