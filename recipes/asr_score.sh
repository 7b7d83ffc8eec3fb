#!/usr/bin/env bash
# Scores of the recognisers of recipes/asr.sh, folds joined, for the table and figure of sigssl report. Sourced by egs/*/run.sh; a recipe sets what asr.sh needs, and
#   data/test: the reference of all folds together      folds: endings of their names, or nothing      method: of the encoder
for fraction in $fractions; do
    for arm in $arms; do
        case $arm in
            logmel) label="log-mel" ;;
            scratch) label="from scratch" ;;
            frozen) label="${method^^} frozen" ;;
            last_block) label="${method^^}, last block tuned" ;;
            full) label="${method^^} fine-tuned" ;;
        esac
        for how in decode decode_lm; do
            texts=()
            for fold in ${folds:-""}; do texts+=("$exp/asr/$arm-$fraction$fold/$how"); done
            stage "score-$arm-$fraction-$how" --in "${texts[0]}/text" --in "$data/$test/text" --out "$exp/score/$arm-$fraction-$how/metrics.json" -- \
                sigssl score asr --ref "$data/$test" --hyp "${texts[@]}" --arm "$label" --fraction "$fraction" --out "$exp/score/$arm-$fraction-$how"
        done
    done
done
