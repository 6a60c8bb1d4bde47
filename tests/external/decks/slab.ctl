; A slab of thickness 1 and index n = 6 in vacuum rings at frequencies m / 12. Each time a wave meets a
; face it keeps r = 5/7 of its amplitude, so that the square of the field falls as exp(-2 g t) with
; g = ln(1 / r) / n.
(set! geometry-lattice (make lattice (size no-size no-size 4)))
(set! geometry (list (make block (center 0 0 0) (size infinity infinity 1)
                                 (material (make dielectric (index 6))))))
(set! pml-layers (list (make pml (thickness 1))))
(set! resolution 50)
(set! sources (list (make source (src (make gaussian-src (frequency 0.5) (fwidth 0.2)))
                                 (component Ex) (center 0 0 0.13))))
(run-sources+ (stop-when-fields-decayed 10 Ex (vector3 0 0 0.01) 1e-4))
