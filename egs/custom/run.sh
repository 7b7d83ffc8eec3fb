#!/usr/bin/env bash
# Your own recordings: --root names a folder of audio (searched through), or a CSV or TSV table with a column `path`.
# They are checked, TERA is pretrained on them without labels, and their embeddings are written. Nothing of yours is changed.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=           # option: folder of recordings, or table (columns path; id, speaker, text, label, start, end as you have them)
speaker=parent  # option: for a folder: parent (the file's folder), none, or a regular expression with one group
method=tera     # option: a folder of recipes/conf
size=small      # option: of the model: base, small or tiny
updates=3000    # option: of pretraining; about 100 seconds of signal each with size small
pool=mean+std   # option: of the embeddings over time: none, mean or mean+std
nj=2            # option: worker processes
. recipes/lib.sh
options "$@"
[ -n "$root" ] || { echo "$0: --root is missing: a folder of recordings, or a CSV or TSV table of them" >&2; exit 2; }
. recipes/env.sh
data=egs/custom/data exp=egs/custom/exp all=egs/custom/data/all

if [ -d "$root" ]; then
    stage prepare --in "$root" --out "$all/wav.scp" -- sigssl prepare folder $data --root "$root" --speaker "$speaker" --nj "$nj"
else
    stage prepare --in "$root" --out "$all/wav.scp" -- sigssl prepare table $data --root "$root" --nj "$nj"
fi
stage validate --in $all -- sigssl validate $all
stage "pretrain-$method" --in $all --in "recipes/conf/$method/$size.yaml" --out "$exp/$method/encoder/model.safetensors" -- \
    sigssl pretrain --config "recipes/conf/$method/$size.yaml" --out "$exp/$method" data.train=$all "trainer.updates=$updates"
stage embed --in "$exp/$method/encoder" --in $all --out $exp/embeddings/emb.scp -- \
    sigssl embed --model "$exp/$method" $all $exp/embeddings --layer all --pool "$pool" --nj "$nj" --overwrite
stage report --in "$exp/$method/metrics.json" --out $exp/report/REPORT.md -- sigssl report $exp --out $exp/report
finish $exp/report/REPORT.md "and embeddings in $exp/embeddings"
