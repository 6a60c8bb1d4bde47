#!/bin/sh
# What a run came to, as NAME<TAB>VALUE: the last row of the force coefficients. Their columns are
# found by name. Without convergence there is no LD, so that no such run can be the best.
# usage: coefficients.sh CASE
cd "$1" || exit
converged=$(grep -c '^SIMPLE solution converged' log.simpleFoam)
awk -v converged="$converged" '
    /^# *Time/ { for (i = 2; i <= NF; i++) column[$i] = i - 1 }
    !/^#/ { iterations = $1; cl = $column["Cl"]; cd = $column["Cd"]; cm = $column["CmPitch"] }
    END {
        if (!iterations) { print "no force coefficients" > "/dev/stderr"; exit 1 }
        printf "Cl\t%.5f\nCd\t%.6f\nCm\t%.5f\n", cl, cd, cm
        if (converged) printf "LD\t%.3f\n", cl / cd
        else printf "LD\t*** not converged ***\n"
        printf "iterations\t%d\n", iterations
    }' postProcessing/forceCoeffs/0/coefficient.dat
