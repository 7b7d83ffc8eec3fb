#!/usr/bin/env bash
# Further speech to pretrain on: prepares each corpus of $unlabelled and joins its parts with the data directories in $pool to $data/pool,
# whose features are computed once into $exp/feats. Sourced by egs/*/run.sh. A recipe sets data, exp, pool, unlabelled, features, nj.
for corpus in $unlabelled; do
    stage "prepare-$corpus" --out "$data/$corpus" -- sigssl prepare "$corpus" "$data/$corpus"
    if [ -d "$data/$corpus/all" ]; then pool="$pool $data/$corpus/all"; else pool="$pool $(echo "$data/$corpus"/*/wav.scp | sed 's#/wav.scp##g')"; fi
done
# shellcheck disable=SC2086  # pool is a list of folders
stage combine $(printf -- '--in %s ' $pool) --out "$data/pool/wav.scp" -- sigssl combine "$data/pool" $pool
stage features --in "$data/pool" --in "$features" --out "$exp/feats/feats.scp" -- \
    sigssl features --config "$features" "$data/pool" "$exp/feats" --nj "$nj" --overwrite
