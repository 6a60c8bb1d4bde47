#!/bin/sh
# What a run came to, as NAME<TAB>VALUE: the last row of forces.csv.
# usage: coefficients.sh CASE
tail -n 1 "$1/forces.csv" |
    awk -F, '{ printf "Cl\t%.5f\nCd\t%.5f\nLD\t%.3f\n", $2, $3, $2 / $3 }'
