#!/usr/bin/env bash
# Further speech to pretrain on: prepares the corpora of $unlabelled (words such as vctk/all: corpus/part), joins them with the data
# directories in $pool to $data/pool. Sourced by egs/*/run.sh. A recipe sets data, exp, pool and unlabelled.
prepared=" "
for part in $unlabelled; do
    corpus=${part%/*}
    pool="$pool $data/$part"
    [[ $prepared == *" $corpus "* ]] || stage "prepare-$corpus" --out "$data/$part" -- sigssl prepare "$corpus" "$data/$corpus"
    prepared="$prepared$corpus "
done
# shellcheck disable=SC2046,SC2086  # pool is a list of folders
stage combine $(printf -- '--in %s ' $pool) --out "$data/pool/wav.scp" -- sigssl combine "$data/pool" $pool
