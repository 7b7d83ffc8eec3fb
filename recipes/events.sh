#!/usr/bin/env bash
# Event-locked EEG: store the windows, pretrain without each person in turn, probe that person. With fewer than three people nobody can be
# left out: one encoder on all, and four folds of recordings (the tables say so). Sourced by egs/*/run.sh. A recipe sets
#   data, exp, all (data directory of windows), people (or empty: all), method, size, conf, features, nj
stage features --in "$all/segments" --in "$features" --out "$exp/feats/feats.scp" -- \
    sigssl features --config "$features" "$all" "$exp/feats" --nj "$nj" --overwrite
[ -n "$people" ] || [ ! -f "$all/spk2utt" ] || people=$(cut -d' ' -f1 "$all/spk2utt" | tr '\n' ' ')
dev='' folds="--folds loso" model="{fold}"
if [ "$(wc -w <<< "$people")" -ge 3 ]; then
    for person in $people; do
        stage "without-$person" --in "$all/utt2spk" --out "$data/without_$person/wav.scp" -- \
            sigssl subset "$all" "$data/without_$person" --not-spks "$person"
        train=without_$person name=neuronet_$person
        . recipes/pretrain.sh
    done
else
    train=${all#"$data/"} name=neuronet_all model=all folds="--folds 4 --shared_speakers true --transductive true"
    . recipes/pretrain.sh
fi
# shellcheck disable=SC2086  # folds is a list of words
stage probe --in "$all/utt2label" --in recipes/conf/probe/events.yaml --in "$exp/feats/feats.json" --in "$exp/$name/encoder" \
    --out "$exp/probe/metrics.json" -- sigssl probe --config recipes/conf/probe/events.yaml --model "$exp/neuronet_$model" \
    --data "$all" --store "$exp/feats" $folds --out "$exp/probe"
stage report --in "$exp/probe" --out "$exp/report/REPORT.md" -- sigssl report "$exp" --out "$exp/report"
