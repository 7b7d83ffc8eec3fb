#!/usr/bin/env bash
# A pretrained encoder -> probes on its frozen states, beside log-mel and the untrained encoder. Sourced by egs/*/run.sh. A recipe sets
# data, train, dev, test, exp, name as for ssl.sh; target: phones, label or speaker; level: frame or utterance; if need be
# probe_conf: YAML laid over recipes/conf/probe/$level.yaml
stage "probe-$target" --in "$exp/$name/encoder" --in "$data/$train" --in "$data/$dev" --in "$data/$test" \
    --in "recipes/conf/probe/$level.yaml" ${probe_conf:+--in "$probe_conf"} --out "$exp/probe_$target/metrics.json" -- \
    sigssl probe --config "recipes/conf/probe/$level.yaml" ${probe_conf:+--config "$probe_conf"} --model "$exp/$name" --target "$target" \
    --train "$data/$train" --dev "$data/$dev" --test "$data/$test" --out "$exp/probe_$target"
