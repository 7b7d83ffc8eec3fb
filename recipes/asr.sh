#!/usr/bin/env bash
# Transcribed speech -> recognisers (CTC), for every arm and share of the labels, and what each makes of the test part, with and without a
# language model of the training text. Sourced by egs/*/run.sh after recipes/lib.sh, once or once for each fold; recipes/asr_score.sh follows.
# A recipe sets
#   data, exp, nj; train, dev, test: data directories in $data      fold: ending of the names of a fold (_george), or nothing
#   arms: of logmel (no encoder: features and the same head), scratch (the encoder's size, new weights), frozen, last_block, full
#   model: the pretrained encoder      features: YAML of the logmel arm      fractions: shares of the training utterances
#   base: name of a YAML in recipes/conf/asr      asr: YAML laid over it, or nothing      asr_words: settings over both, or nothing
#   scratch_lr: peak learning rate of the encoder of the scratch arm, which starts with new weights and all of it at once (1e-3)
#   order: of the language model      search: words for sigssl decode with it
stage "lm${fold:-}" --in "$data/$train/text" --out "$exp/asr/lm${fold:-}.arpa" -- \
    sigssl lm "$data/$train" "$exp/asr/lm${fold:-}.arpa" --order "$order" --smoothing witten-bell
for fraction in $fractions; do
    for arm in $arms; do
        case $arm in
            logmel) source="--features $features" ;;
            scratch) source="--model $model --start scratch --tune full --thaw_after 0 --encoder_lr ${scratch_lr:-1e-3}" ;;
            *) source="--model $model --tune $arm" ;;
        esac
        run=$exp/asr/$arm-$fraction${fold:-}
        # shellcheck disable=SC2086  # source, asr_words and search are lists of words
        stage "asr-$arm-$fraction${fold:-}" --in "$data/$train" --in "$data/$dev" --in "recipes/conf/asr/$base.yaml" ${asr:+--in "$asr"} \
            --in "$features" ${model:+--in "$model/encoder"} --out "$run/recogniser/model.safetensors" -- \
            sigssl finetune asr --config "recipes/conf/asr/$base.yaml" ${asr:+--config "$asr"} $source --train "$data/$train" --dev "$data/$dev" \
            --out "$run" --fraction "$fraction" ${asr_words:-}
        stage "transcribe-$arm-$fraction${fold:-}" --in "$run/recogniser" --in "$data/$test" --out "$run/decode/text" -- \
            sigssl transcribe "$data/$test" --model "$run" --out "$run/decode" --method greedy --keep-logprobs --nj "$nj" --quiet
        # shellcheck disable=SC2086
        stage "decode-$arm-$fraction${fold:-}" --in "$run/decode/logprobs/logprobs.scp" --in "$exp/asr/lm${fold:-}.arpa" --out "$run/decode_lm/text" -- \
            sigssl decode "$run/decode/logprobs" "$run/decode_lm" --lm "$exp/asr/lm${fold:-}.arpa" $search --nj "$nj" --quiet
    done
done
