# Bends the mesh of a symmetric airfoil: each point moves up by the height of the mean line at its x,
# all of it on the airfoil, less and less away from it, nothing two chords away.
#
# The mean line is that of NACA's airfoils of four digits with its highest point at 0.4 chords: two
# parabolas. Source: Jacobs, Ward, Pinkerton, NACA Report 460 (1933). camber: percent of the chord.

function mean_line(x) {
    if (x <= 0 || x >= 1) return 0
    return x < 0.4 ? x * (0.8 - x) / 0.16 : (1 - x) * (0.2 + x) / 0.36
}

/^\(.* .* .*\)$/ {
    gsub(/[()]/, "")
    near = 1 - ($2 < 0 ? -$2 : $2) / 2
    if (near > 0) $2 += camber / 100 * mean_line($1) * near ^ 2
    printf "(%.10g %.10g %.10g)\n", $1, $2, $3
    next
}
{ print }
