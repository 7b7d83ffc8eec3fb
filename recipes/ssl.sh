#!/usr/bin/env bash
# Data directories -> features on disk -> a pretrained encoder. Sourced by egs/*/run.sh after recipes/lib.sh. A recipe sets
#   data: folder of the data directories       train, dev: names of those to pretrain on and to validate with
#   exp: folder for what is made               name: of the run, which is $exp/$name
#   method: a folder of recipes/conf           size: base, small or tiny: its YAML file
#   conf: YAML of the data set (differences only)      nj: worker processes

for part in $train $dev; do
    stage "validate-$part" --in "$data/$part" -- sigssl validate "$data/$part"
    stage "features-$part" --in "$data/$part" --in "$features" --out "$exp/feats/$part/feats.scp" -- \
        sigssl features --config "$features" "$data/$part" "$exp/feats/$part" --nj "$nj" --overwrite
done
stage "pretrain-$name" --in "$exp/feats/$train/feats.json" --in "$data/$train" --in "recipes/conf/$method/$size.yaml" --in "$conf" \
    --out "$exp/$name/encoder/model.safetensors" -- \
    sigssl pretrain --config "recipes/conf/$method/$size.yaml" --config "$conf" --out "$exp/$name" \
    "data.train=$data/$train" "data.feats=$exp/feats/$train" "data.valid=$data/$dev" "data.valid_feats=$exp/feats/$dev"
