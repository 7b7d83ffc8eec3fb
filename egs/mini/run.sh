#!/usr/bin/env bash
# Synthetic speech, offline, from nothing to a report in under 10 minutes on 2 cores:
# speech and phone labels -> log-mel on disk -> TERA -> embeddings -> phone probe beside its baselines -> egs/mini/exp/report.
set -euo pipefail
cd "$(dirname "$0")/../.."
nj=2                              # option: worker processes
size=small                        # option: of the model: base, small or tiny
hours=0.6                         # option: of speech to make
speakers=24                       # option: voices; 70 % of them train
data=egs/mini/data                # option: folder of the data directories
exp=egs/mini/exp                  # option: folder of everything that is made
conf=egs/mini/conf/tera.yaml      # option: YAML laid over recipes/conf/tera/$size.yaml
. recipes/lib.sh
options "$@"
. recipes/env.sh demo
method=tera name=tera train=train dev=dev test=test features=recipes/conf/features/logmel.yaml

stage prepare --out "$data/train" -- sigssl prepare synthetic "$data" --hours "$hours" --speakers "$speakers" --nj "$nj"
. recipes/ssl.sh
stage embed --in "$exp/tera/encoder" --in "$data/test" --out "$exp/embeddings/emb.scp" -- \
    sigssl embed --model "$exp/tera" "$data/test" "$exp/embeddings" --layer last --pool none --nj "$nj" --overwrite
target=phones level=frame
. recipes/probe.sh
stage report --in "$exp/tera/metrics.json" --in "$exp/probe_phones" --out "$exp/report/REPORT.md" -- \
    sigssl report "$exp" --out "$exp/report"
finish "$exp/report/REPORT.md"
