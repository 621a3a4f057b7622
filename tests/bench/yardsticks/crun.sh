#!/bin/sh
# A loop of `crun run -d` of one bundle: crun.sh BUNDLE CONTAINERS
set -e
number=0
while [ "$number" -lt "$2" ]; do
    crun run --detach --bundle "$1" "bench-$number"
    number=$((number + 1))
done
