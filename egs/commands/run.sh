#!/usr/bin/env bash
# Arabic speech commands: TERA without labels, then keyword probes on speakers nobody heard before, beside log-mel and the untrained encoder.
set -euo pipefail
cd "$(dirname "$0")/../.."
nj=2                                            # option: worker processes
size=small                                      # option: of the model: base, small or tiny
unlabelled="fsdd/all vctk/all an4/all ljspeech/all phones/all"  # option: also pretrained on
. recipes/lib.sh
options "$@"
. recipes/env.sh
data=egs/commands/data exp=egs/commands/exp method=tera features=recipes/conf/features/logmel.yaml conf=egs/commands/conf/tera.yaml

stage prepare-commands --out $data/commands/test/wav.scp -- sigssl prepare speech_commands_ar $data/commands
pool="$data/commands/train $data/commands/dev"  # the test speakers stay unheard
. recipes/unlabelled.sh
train=pool name=tera
. recipes/pretrain.sh
data=$data/commands train=train dev=dev test=test target=label level=utterance
. recipes/probe.sh
stage report --in $exp/probe_label --out $exp/report/REPORT.md -- sigssl report $exp --out $exp/report
finish "$exp/report/REPORT.md"
