#!/usr/bin/env bash
# Temporal heads on real labels: band powers of 124 Sleep-EDF nights of 63 people, five folds over people, and the stagers that are shipped.
# bidirectional Mamba beside a BiGRU and logistic regression; causal Mamba beside a GRU; a head for live use.
set -euo pipefail
cd "$(dirname "$0")/../.."
nights=${SIGSSL_DATA:-data}/sleep/sleepedf_bandpower_sc153   # option: folder with records.csv and records/*.npz
passes=4                                                     # option: over the training nights
. recipes/lib.sh
options "$@"
. recipes/env.sh
exp=egs/sleep_bandpower/exp conf=recipes/conf/sleep

for name in bandpower causal streaming; do
    final="mamba, 2 members"; [ $name != bandpower ] || final="bimamba, 2 members"
    card=egs/sleep_bandpower/card_$name.md; [ -f "$card" ] || card=""
    stage "heads-$name" --in "$nights/records.csv" --in $conf/$name.yaml --out $exp/$name/metrics.json --out $exp/$name/stager -- \
        sigssl finetune sleep --config $conf/$name.yaml --passes "$passes" --data "$nights" --out $exp/$name --final "$final" \
        ${card:+--card "$card"}
done
stage score --in $exp/bandpower/stager --out $exp/score/metrics.json -- \
    sigssl score sleep --model $exp/bandpower --root "$nights" --out $exp/score
finish "$exp/bandpower/table.md, $exp/causal/table.md, $exp/streaming/table.md"
